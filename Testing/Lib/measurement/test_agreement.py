"""Two readers compared: against MONAI's distances, and in files whose boxes and axes are not the same."""

import numpy as np
import pytest
from image_files import ijk_to_ras
from monai.metrics import compute_average_surface_distance

from PromptSegLib.errors import GeometryError
from PromptSegLib.evaluation.metrics import dice, hausdorff_95_mm
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.io import Segment, write_segmentation
from PromptSegLib.measurement.agreement import agreement, mask_on, surface_distances_mm
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.worklist.case import CaseState
from PromptSegLib.worklist.worklist import Worklist

SHAPE = (14, 20, 24)
AFFINE = ijk_to_ras()


def ball(middle, radius):
    index = np.indices(SHAPE)
    return sum((axis - at) ** 2 for axis, at in zip(index, middle, strict=True)) <= radius**2


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_distances_are_those_of_monai():
    import torch

    first, second = ball((7, 10, 12), 5), ball((6, 9, 13), 4)
    spacing = Grid(SHAPE, AFFINE).spacing_kji_mm
    mean, farthest = surface_distances_mm(first, second, spacing)
    assert farthest == pytest.approx(hausdorff_95_mm(first, second, spacing), rel=1e-4)
    batches = [torch.from_numpy(mask.astype(np.float32))[None, None] for mask in (first, second)]
    expected = compute_average_surface_distance(
        *batches, include_background=True, symmetric=True, spacing=spacing.tolist()
    )
    assert mean == pytest.approx(float(expected), rel=1e-4)


def test_files_are_compared_whatever_box_and_axes_they_are_written_in(tmp_path):
    first, second = ball((7, 10, 12), 5), ball((6, 9, 13), 4)
    only = ball((3, 3, 3), 2)
    segments = [Segment("liver", first, 1), Segment("cyst", only, 2)]
    write_segmentation(tmp_path / "a.seg.nrrd", segments, Grid(SHAPE, AFFINE))
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, SHAPE[2] - 1
    write_segmentation(tmp_path / "b.seg.nrrd", [Segment("liver", second[:, :, ::-1], 1)], Grid(SHAPE, AFFINE @ flip))
    liver, cyst = agreement(tmp_path / "a.seg.nrrd", tmp_path / "b.seg.nrrd")
    ml = Grid(SHAPE, AFFINE).voxel_mm3 / 1000
    assert liver.dice == pytest.approx(dice(first, second))
    assert liver.only_first_ml == pytest.approx((first & ~second).sum() * ml)
    assert liver.only_second_ml == pytest.approx((second & ~first).sum() * ml)
    assert (cyst.segment, cyst.dice, cyst.distance_mm) == ("cyst", 0, None)
    again = agreement(tmp_path / "b.seg.nrrd", tmp_path / "a.seg.nrrd")[0]
    assert again.distance_mm == pytest.approx(liver.distance_mm)


def test_a_mask_is_brought_onto_a_grid_of_other_extent():
    first = ball((7, 10, 12), 5)
    below = Grid(SHAPE, AFFINE).cropped(Extent((0, 0, 0), (7, 20, 24)))
    found = mask_on(Segmentation.of_masks({"liver": first}, AFFINE), "liver", below)
    assert found.shape == (7, 20, 24)
    np.testing.assert_array_equal(found, first[:7])


def test_segmentations_on_other_voxels_are_refused(tmp_path):
    first = Segmentation.of_masks({"liver": ball((7, 10, 12), 5)}, AFFINE)
    shifted = AFFINE.copy()
    shifted[:3, 3] += 0.4
    with pytest.raises(GeometryError, match="whose voxels are not the same"):
        agreement(first, Segmentation.of_masks({"liver": ball((7, 10, 12), 5)}, shifted))


def test_a_reading_that_cannot_be_read_is_told_and_the_others_are_compared(tmp_path):
    from PromptSegLib.measurement.agreement import compared_readings

    (tmp_path / "list.csv").write_text("image\na.nii\nb.nii\n")
    worklist = Worklist.open(tmp_path / "list.csv", "Ann")
    for case in worklist.cases:
        worklist.record(case, state=CaseState.ACCEPTED, reader="Ann")
        second = worklist.add_reading(case, "Bob")
        for path in (case.segmentation, second.segmentation):
            write_segmentation(path, [Segment("liver", ball((7, 10, 12), 5))], Grid(SHAPE, AFFINE))
    worklist.cases[-1].segmentation.write_text("nothing")
    whole, damaged = compared_readings(worklist)
    assert [one.dice for one in whole.segments] == [1.0]
    assert damaged.segments == ()
    assert "b.Bob.seg.nrrd" in damaged.problem
    assert compared_readings(worklist, ("Ann", "Eve")) == []
