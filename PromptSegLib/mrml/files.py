"""Scenes as .mrb files: one archive that holds the nodes and all of their data, and that Slicer opens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PromptSegLib.archives import ArchiveError, unpack
from PromptSegLib.errors import SceneFileError


def save_mrb(scene: Any, path: str | PathLike[str]) -> None:
    """Write every node of `scene`, a vtkMRMLScene, and its data to `path`, which ends with .mrb.

    Nodes that have none get a storage node, as when Slicer saves.

    Raises:
        SceneFileError: the file cannot be written.
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

    The archive is unpacked here, by `archives.unpack`, and not by Slicer, whose `ReadFromMRB` writes where an entry's
    name leads: `../`, absolute names and links. Files that the scene itself names elsewhere are read as Slicer does.
    Slicer reads right-handed volumes only: one whose IJK axes are left-handed comes back with k reversed, each
    voxel at its place.

    Raises:
        SceneFileError: the file is missing or is no scene; `scene` is then as it was, unless reading began.
    """
    from slicer import vtkMRMLMessageCollection
    from vtk import vtkCommand

    source = Path(path).absolute()
    messages = vtkMRMLMessageCollection()
    try:
        if not source.is_file():
            raise SceneFileError(f"expected an .mrb file, got {source}, which is no file")
        with TemporaryDirectory(prefix="promptseg-") as folder:
            unpacked = Path(folder).resolve()
            main = _main_scene(unpack(source, unpacked), source)
            success = _read_unpacked(scene, main, clear, messages)
            _point_to_archive(scene, source, unpacked)
    except ArchiveError as error:
        raise SceneFileError(f"expected an archive that holds a scene, got {source}: {error}") from error
    except SceneFileError:
        raise
    except OSError as error:
        raise SceneFileError(f"could not unpack {source}: {error}") from error
    scene.SetStorableNodesModifiedSinceRead()
    if not success or messages.GetNumberOfMessagesOfType(vtkCommand.ErrorEvent):
        raise SceneFileError(f"could not read a scene from {source}: {messages.GetAllMessagesAsString().strip()}")


def _main_scene(files: Sequence[Path], source: Path) -> Path:
    """Return the .mrml file nearest to the archive's root: sequences have scenes of their own further down."""
    scenes = sorted((file for file in files if file.suffix == ".mrml"), key=lambda file: (len(file.parts), file))
    if not scenes:
        raise SceneFileError(f"expected an archive that holds a scene, got {source}, which is damaged or holds none")
    return scenes[0]


def _read_unpacked(scene: Any, main: Path, clear: bool, messages: Any) -> bool:
    """Read the scene in the file `main` and tell whether that worked."""
    scene.SetURL(str(main))
    return bool(scene.Connect(messages) if clear else scene.Import(messages))


def _point_to_archive(scene: Any, source: Path, unpacked: Path) -> None:
    """Let `scene` and its storage nodes name the archive's folder, as `ReadFromMRB` leaves them, not `unpacked`."""
    root = Path(scene.GetRootDirectory() or unpacked)
    scene.SetURL(str(source.with_suffix(".mrml")))
    scene.SetRootDirectory(str(source.parent))
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLStorageNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLStorageNode")
        if name := _inside(node.GetFileName(), unpacked, root):
            node.SetFileName(name)
        for each in range(node.GetNumberOfFileNames()):
            if name := _inside(node.GetNthFileName(each), unpacked, root):
                node.ResetNthFileName(each, name)


def _inside(name: str | None, unpacked: Path, root: Path) -> str | None:
    """Return a file name in `unpacked` as one relative to `root`, None for any other."""
    if not name or not Path(name).is_relative_to(unpacked):
        return None
    return os.path.relpath(name, root).replace(os.sep, "/")
