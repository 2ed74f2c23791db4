"""Volumes, surfaces, intensities and parts of shapes whose measures are known, and as SimpleITK has them."""

import numpy as np
import pytest
import SimpleITK as sitk
from measured_phantoms import AXES, box, ellipsoid, grid_around, grid_of, voxel_centres_ras
from scipy.spatial.transform import Rotation

from PromptSegLib.errors import GeometryError, PromptError, VolumeError
from PromptSegLib.io import Segment, write_segmentation
from PromptSegLib.measurement.measure import MOST_PARTS, measure
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.measurement.segmentation_file import read_segmentation
from PromptSegLib.measurement.table import as_csv, record_of, rows_of
from PromptSegLib.volume import Volume

BALL_OF_1_ML_MM = 6.20350490899  # (3000 / 4 pi) ** (1 / 3)


def measured(mask, grid, values=None, **options):
    """Measure a mask of one segment."""
    image = None if values is None else Volume(values, grid.ijk_to_ras)
    (found,) = measure(Segmentation.of_masks({"it": mask}, grid.ijk_to_ras), image, **options)
    return found


@pytest.mark.parametrize("kind", AXES)
def test_a_ball_has_its_volume_surface_centre_and_is_round_on_any_grid(kind):
    grid, centre = grid_around(kind, 15)
    found = measured(ellipsoid(grid, centre, (15, 15, 15)), grid)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.01)
    assert found.volume_ml == pytest.approx(found.voxels * abs(np.linalg.det(AXES[kind])) / 1000)
    assert found.surface_mm2 == pytest.approx(4 * np.pi * 15**2, rel=0.015)
    assert found.sphericity == pytest.approx(1, abs=0.015)
    assert found.centroid_ras == pytest.approx(centre, abs=0.15)
    assert found.touches_border is False


@pytest.mark.parametrize("kind", AXES)
def test_a_turned_box_has_its_volume_and_its_surface_within_what_lines_can_tell(kind):
    grid, centre = grid_around(kind, 26)
    mask = box(grid, centre, (20, 12, 9), Rotation.from_euler("xyz", [25, 10, 35], degrees=True).as_matrix())
    found = measured(mask, grid)
    assert found.volume_ml == pytest.approx(8 * 20 * 12 * 9 / 1000, rel=0.02)
    assert found.surface_mm2 == pytest.approx(8 * (20 * 12 + 12 * 9 + 20 * 9), rel=0.05)
    assert found.sphericity < 0.86


def test_flat_faces_along_the_grid_are_at_most_9_percent_short():
    grid = grid_of("isotropic", (50, 60, 70))
    mask = np.zeros(grid.shape_kji, bool)
    mask[5:45, 5:55, 5:65] = True
    exact = 2 * (40 * 50 + 50 * 60 + 40 * 60)
    assert 0.91 * exact < measured(mask, grid).surface_mm2 < exact


@pytest.mark.parametrize("kind", ["isotropic", "anisotropic", "flipped"])
def test_simpleitk_says_the_same_where_it_measures_the_same(kind):
    grid, centre = grid_around(kind, 18)
    mask = ellipsoid(grid, centre, (17, 10, 12), Rotation.from_euler("xyz", [25, 10, 35], degrees=True).as_matrix())
    values = np.random.default_rng(1).normal(40, 12, grid.shape_kji).astype(np.float32)
    found = measured(mask, grid, values)
    labels = sitk.GetImageFromArray(mask.astype(np.uint8))
    labels.SetSpacing(grid.spacing_mm.tolist())
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing_mm.tolist())
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputePerimeterOn()
    shape.Execute(labels)
    statistics = sitk.LabelStatisticsImageFilter()
    statistics.Execute(image, labels)
    assert found.voxels == shape.GetNumberOfPixels(1)
    assert found.volume_ml == pytest.approx(shape.GetPhysicalSize(1) / 1000)
    assert found.surface_mm2 == pytest.approx(shape.GetPerimeter(1), rel=0.005 if kind == "isotropic" else 0.02)
    assert found.intensity.mean == pytest.approx(statistics.GetMean(1))
    assert found.intensity.sd == pytest.approx(statistics.GetSigma(1))
    assert (found.intensity.minimum, found.intensity.maximum) == (statistics.GetMinimum(1), statistics.GetMaximum(1))
    assert found.intensity.median == np.median(values[mask])
    assert found.intensity.percentiles == pytest.approx(np.percentile(values[mask], (5, 25, 75, 95)))


def test_each_part_is_measured_and_the_segment_has_the_diameters_of_the_longest():
    grid = grid_of("anisotropic", (20, 60, 90))
    small, large = (
        ellipsoid(grid, grid.to_ras((20, 20, 10)), (5, 5, 5)),
        ellipsoid(grid, grid.to_ras((60, 30, 10)), (12, 8, 8)),
    )
    found = measured(small | large, grid)
    alone = [measured(one, grid) for one in (large, small)]
    assert found.part_count == 2
    assert [part.volume_ml for part in found.parts] == [one.volume_ml for one in alone]
    assert [part.axial for part in found.parts] == [one.axial for one in alone]
    assert (found.axial, found.longest) == (alone[0].axial, alone[0].longest)
    assert found.voxels == alone[0].voxels + alone[1].voxels
    assert found.surface_mm2 == pytest.approx(alone[0].surface_mm2 + alone[1].surface_mm2)


def test_voxels_that_touch_by_a_corner_are_one_part():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True
    assert measured(mask, grid_of("isotropic", mask.shape)).part_count == 1


def test_of_many_parts_the_longest_counts_even_when_it_is_among_the_smallest():
    mask = np.zeros((3, 70, 40), bool)
    mask[1, ::4, ::4] = mask[1, 1::4, ::4] = mask[1, ::4, 1::4] = mask[1, 1::4, 1::4] = True
    mask[1, 66:] = False
    mask[1, 68, 10:13] = True
    found = measured(mask, grid_of("isotropic", mask.shape))
    assert found.part_count > MOST_PARTS == len(found.parts)
    assert found.axial.longest.length_mm == pytest.approx(3)
    assert "the 100 largest parts are listed" in record_of(found)["note"]


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("place", [0, -1])
def test_a_segment_that_reaches_the_border_says_that_its_volume_is_a_lower_bound(axis, place):
    mask = np.zeros((9, 10, 11), bool)
    mask[4, 4, 4] = True
    grid = grid_of("oblique", mask.shape)
    assert measured(mask, grid).touches_border is False
    np.moveaxis(mask, axis, 0)[place, 4, 4] = True
    assert measured(mask, grid).touches_border is True
    assert "lower bound" in as_csv(rows_of([measured(mask, grid)]))


def test_a_single_slice_has_no_border_across_it():
    mask = np.zeros((1, 10, 11), bool)
    mask[0, 4:6, 4:6] = True
    assert measured(mask, grid_of("isotropic", mask.shape)).touches_border is False


@pytest.mark.parametrize("kind", AXES)
def test_suv_peak_is_the_highest_mean_of_a_ball_of_1_ml_tried_at_each_voxel(kind):
    grid, centre = grid_around(kind, 9)
    rng = np.random.default_rng(7)
    values = rng.gamma(2, 900, grid.shape_kji)
    values[0, 0, 0] = np.nan
    mask = ellipsoid(grid, centre, (5, 4, 5))
    mask[0, :2, :2] = True  # balls that reach out of the image
    centres = voxel_centres_ras(grid)
    means = [np.nanmean(values[np.linalg.norm(centres - one, axis=-1) <= BALL_OF_1_ML_MM]) for one in centres[mask]]
    found = measured(mask, grid, values, suv_factor=0.002)
    assert found.uptake.peak == pytest.approx(0.002 * max(means), rel=1e-9)
    inside = values[mask][np.isfinite(values[mask])]
    assert found.intensity.maximum == pytest.approx(0.002 * inside.max())
    assert found.intensity.left_out == 1
    assert found.uptake.tlg_g == pytest.approx(0.002 * inside.mean() * found.volume_ml)


@pytest.mark.parametrize("place", [(0, 0, 0), (6, 8, 9), (11, 15, 17)])
def test_a_uniform_image_has_its_value_as_peak_at_its_border_too(place):
    grid = grid_of("anisotropic", (12, 16, 18))
    mask = np.zeros(grid.shape_kji, bool)
    mask[place] = True
    found = measured(mask, grid, np.full(grid.shape_kji, 5000.0), suv_factor=1e-3)
    assert found.uptake.peak == pytest.approx(5)


def test_an_empty_segment_is_in_the_table_and_has_nothing_but_its_name():
    found = measured(np.zeros((3, 4, 5), bool), grid_of("isotropic", (3, 4, 5)))
    assert (found.voxels, found.part_count, found.axial) == (0, 0, None)
    assert as_csv([found]) == "segment,part,parts,voxels,volume_mL,note\nit,all,0,0,0,empty\n"


def test_the_images_axes_may_be_turned_and_the_segmentation_cropped():
    grid = grid_of("oblique", (12, 14, 16))
    values = np.arange(12 * 14 * 16).reshape(12, 14, 16).astype(np.int16)
    mask = np.zeros(grid.shape_kji, bool)
    mask[3:6, 4:9, 2:12] = True
    turned = np.flip(values.transpose(2, 0, 1), 0)
    matrix = np.eye(4)
    # Axes of the turned array: i is the old j, j the old k, k the old i backwards.
    old = grid.ijk_to_ras
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = old[:3, 1], old[:3, 2], -old[:3, 0]
    matrix[:3, 3] = grid.to_ras((15, 0, 0))
    part = (slice(2, 8), slice(3, 10), slice(1, 14))
    cropped = Segmentation.of_masks(
        {"it": mask[part]},
        np.array(grid.ijk_to_ras)
        + np.pad((grid.to_ras((1, 3, 2)) - grid.ijk_to_ras[:3, 3])[:, None], ((0, 1), (3, 0))),
    )
    (found,) = measure(cropped, Volume(turned, matrix))
    assert found.intensity.mean == pytest.approx(values[mask].mean())
    assert found.touches_border is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values, matrix: Volume(values[:-1], matrix), "on the segmentation's grid, (5, 6, 7) (k, j, i)"),
        (lambda values, matrix: Volume(values, matrix * [[1.01], [1], [1], [1]]), "resample one of them first"),
        (lambda values, matrix: Volume(np.stack([values] * 3, -1), matrix), "an image of one value a voxel"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(change, message):
    grid = grid_of("isotropic", (5, 6, 7))
    masks = Segmentation.of_masks({"it": np.ones(grid.shape_kji)}, grid.ijk_to_ras)
    with pytest.raises((GeometryError, VolumeError)) as caught:
        measure(masks, change(np.zeros(grid.shape_kji), grid.ijk_to_ras))
    assert message in str(caught.value)


def test_overlapping_segments_of_a_seg_nrrd_come_back_by_name(tmp_path):
    grid = grid_of("sheared", (8, 9, 10))
    one, other = np.zeros(grid.shape_kji, bool), np.zeros(grid.shape_kji, bool)
    one[2:6, 2:6, 2:6] = other[4:8, 4:8, 4:8] = True
    path = tmp_path / "two.seg.nrrd"
    write_segmentation(path, [Segment("liver", one, 5), Segment("tumour", other, 7)], grid)
    found = read_segmentation(path)
    assert found.names == ("liver", "tumour")
    assert [m.voxels for m in measure(found)] == [64, 64]
    assert found.whole == grid.extent
    with pytest.raises(PromptError, match="out of liver, tumour, got 'spleen'"):
        measure(found, names=["spleen"])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 3, 3), 0.5, np.float32), "got 0.5: is it an image, or a mask of probabilities?"),
        (np.full((3, 3, 3), -1, np.int16), "whole numbers from 0 to 65535"),
        (np.full((3, 3, 3), np.nan), "got nan"),
        (np.zeros((3, 3, 3, 3), np.uint8), "is it a picture?"),
    ],
)
def test_what_is_no_labelmap_is_refused(array, message):
    with pytest.raises(VolumeError) as caught:
        Segmentation.of_labels(Volume(array, name="x.nrrd"))
    assert message in str(caught.value)


def test_labels_in_floating_point_are_labels():
    labels = np.zeros((3, 4, 5), np.float64)
    labels[1, 1, 1:3] = 300
    assert Segmentation.of_labels(Volume(labels)).names == ("label 300",)
