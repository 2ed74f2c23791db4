"""From files to segments by names: the real CT and MR, straight and oblique, by models with weights from key names."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import write_with_itk
from references import ELSEWHERE, needs_all_references
from scipy.spatial.transform import Rotation
from tiny_sat import use_tiny_sat
from tiny_vista3d import use_tiny_vista3d

from PromptSegLib.geometry import Extent
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.prompts import ClassPrompt, Point, TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

pytestmark = needs_all_references

SAT = "tiny_sat:TinySatNano"
VISTA3D = "tiny_vista3d:TinyVista3d"


@pytest.fixture(params=["ct_abdomen", "mr_abdomen"])
def middle(request):
    """The middle of a real image, 40 voxels wide."""
    volume = read_volume(ELSEWHERE.parent / "data" / request.param / "image.nii.gz")
    centre = [n // 2 for n in volume.array.shape]
    extent = Extent.of_shape((1, 1, 1)).shifted(centre).padded(20).intersection(volume.grid.extent)
    return request.param[:2], Volume(volume.array[extent.slices].copy(), volume.grid.cropped(extent).ijk_to_ras)


def turned(volume):
    """The same voxels, lying obliquely: each axis is still nearest to the one that it was nearest to."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [12, -9, 15], degrees=True).as_matrix()
    return Volume(volume.array, turn @ volume.ijk_to_ras)


def test_texts_become_segments_the_same_ones_in_an_oblique_copy(promptseg, middle, tmp_path, monkeypatch):
    kind, volume = middle
    use_tiny_sat(tmp_path, monkeypatch)
    masks = {}
    for name, image in (("straight", volume), ("oblique", turned(volume))):
        file = write_with_itk(tmp_path / f"{name}.nrrd", image.array, image.ijk_to_ras)
        out = tmp_path / f"{name}.seg.nrrd"
        outcome = promptseg(
            "segment", "--channel", f"{kind}={file}", "-o", out, "--model", SAT, "--text", "liver", "--text",
            "left kidney", "--json",
        )  # fmt: skip
        assert outcome.status == 0, outcome.err
        session = Session({kind: read_volume(file)}, create_predictor(SAT))
        keys = session.add_classes([TextPrompt("liver"), TextPrompt("left kidney")])
        masks[name] = [session.mask(key) for key in keys]
        assert [s["voxels"] for s in outcome.json["segments"]] == [mask.sum() for mask in masks[name]]
        written = read_volume(out, 0)
        corner = written.grid.to_ras((0, 0, 0))
        assert np.abs(image.grid.to_ijk(corner) - np.round(image.grid.to_ijk(corner))).max() < 1e-3
    for straight, oblique in zip(masks["straight"], masks["oblique"], strict=True):
        assert 0 < straight.mean() < 1
        assert (straight != oblique).mean() < 1e-3


def test_a_class_and_a_click_after_it_on_the_real_ct(promptseg, middle, tmp_path, monkeypatch):
    kind, volume = middle
    if kind == "mr":
        pytest.skip("VISTA3D is made for CT")
    use_tiny_vista3d(tmp_path, monkeypatch)
    volume = Volume(volume.array[4:24, 10:26, 10:26].copy(), turned(volume).ijk_to_ras)
    file = write_with_itk(tmp_path / "ct.nrrd", volume.array, volume.ijk_to_ras)
    out = tmp_path / "out.nii.gz"
    outcome = promptseg("segment", "--channel", f"ct={file}", "-o", out, "--model", VISTA3D, "--classes", "liver")
    assert outcome.status == 0, outcome.err
    given = Session({"ct": read_volume(file)}, create_predictor(VISTA3D))
    given.add(ClassPrompt("liver"))
    np.testing.assert_array_equal(read_volume(out).array > 0, given.mask_kji)
    before = given.mask_kji
    given.add(Point(tuple(volume.grid.to_ras((8, 8, 10)))))
    given.undo()
    np.testing.assert_array_equal(given.mask_kji, before)
