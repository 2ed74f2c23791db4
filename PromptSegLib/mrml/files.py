"""Scenes as .mrb files: one archive that holds the nodes and all of their data, and that Slicer opens."""

from __future__ import annotations

from contextlib import chdir
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile, is_zipfile

from PromptSegLib.errors import SceneFileError


def save_mrb(scene: Any, path: str | PathLike[str]) -> None:
    """Write every node of `scene`, a vtkMRMLScene, and its data to `path`, which ends with .mrb.

    Nodes that have none get a storage node, as when Slicer saves.

    Raises SceneFileError when the file cannot be written.
    """
    from slicer import vtkMRMLMessageCollection

    target = Path(path).absolute()
    if target.suffix.lower() != ".mrb":
        raise SceneFileError(f"expected the name of an .mrb file to save the scene to, got {target.name!r}")
    if not target.parent.is_dir():
        raise SceneFileError(f"expected an existing folder to save the scene to, got {target.parent}")
    messages = vtkMRMLMessageCollection()
    if not scene.WriteToMRB(str(target), None, messages):
        raise SceneFileError(f"could not save the scene to {target}: {messages.GetAllMessagesAsString().strip()}")


def open_mrb(scene: Any, path: str | PathLike[str], *, clear: bool = True) -> None:
    """Read the .mrb file `path` into `scene`, a vtkMRMLScene; `clear` it first, or add to what it holds.

    Slicer reads right-handed volumes only: one whose IJK axes are left-handed comes back with k reversed, each
    voxel at its place.

    Raises SceneFileError when the file is missing or is no scene.
    """
    from slicer import vtkMRMLMessageCollection

    source = Path(path).absolute()
    if not source.is_file():
        raise SceneFileError(f"expected an .mrb file, got {source}, which is no file")
    if not _holds_a_scene(source):
        raise SceneFileError(f"expected an archive that holds a scene, got {source}, which is damaged or holds none")
    messages = vtkMRMLMessageCollection()
    with TemporaryDirectory(prefix="promptseg-") as cache_directory:
        remote_io = None if scene.GetCacheManager() else _attach_remote_io(scene, cache_directory)
        try:
            with chdir(Path.cwd()):  # unpacking goes to the cache and, when it fails, stays there
                success = scene.ReadFromMRB(str(source), clear, messages)
        finally:
            if remote_io is not None:
                remote_io.RemoveDataIOFromScene()
                scene.SetDataIOManager(None)
                scene.SetCacheManager(None)
    if not success:
        raise SceneFileError(f"could not read a scene from {source}: {messages.GetAllMessagesAsString().strip()}")


def _holds_a_scene(path: Path) -> bool:
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any(name.endswith(".mrml") for name in archive.namelist())


def _attach_remote_io(scene: Any, cache_directory: str) -> Any:
    """Give `scene` the cache in which an archive is unpacked; Slicer's own scene has one."""
    from slicer import vtkMRMLRemoteIOLogic

    remote_io = vtkMRMLRemoteIOLogic()
    remote_io.SetMRMLScene(scene)
    remote_io.GetCacheManager().SetRemoteCacheDirectory(cache_directory)
    remote_io.AddDataIOToScene()
    return remote_io
