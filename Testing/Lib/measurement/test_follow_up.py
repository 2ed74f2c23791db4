"""Lesions through time points: what becomes of each, in other grids and frames, too."""

import numpy as np
import pytest
import SimpleITK as sitk
from measured_phantoms import ellipsoid, grid_of, voxel_centres_ras
from scipy import ndimage

from PromptSegLib.errors import GeometryError, PromptError, VolumeError
from PromptSegLib.geometry import LPS_FROM_RAS, Grid, apply_affine
from PromptSegLib.measurement.carry_over import CarryOver
from PromptSegLib.measurement.follow_up import TimePoint, follow_up
from PromptSegLib.measurement.follow_up_table import TITLES, follow_up_record, rows_of_follow_up
from PromptSegLib.measurement.page import page_of
from PromptSegLib.measurement.registration import read_transform, register_rigidly
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.prompts import MaskPrompt, Point
from PromptSegLib.session import Session
from PromptSegLib.volume import Volume

FINE, THICK = grid_of("isotropic", (50, 60, 70), (0, 0, 0)), grid_of("anisotropic", (20, 90, 92), (-2, -1, 0))
TURN = np.array([[0.8, -0.6, 0, 40], [0.6, 0.8, 0, -20], [0, 0, 1, 5], [0, 0, 0, 1]])


def balls(grid, *lesions, frame=None):
    """Return a mask with balls, each R, A, S and radius, in mm of the first time point's frame."""
    mask = np.zeros(grid.shape_kji, bool)
    for *centre, radius in lesions:
        mask |= ellipsoid(grid, apply_affine(np.eye(4) if frame is None else frame, centre), [radius] * 3)
    return mask


def time_point(name, grid, from_first=None, **segments):
    """Return a time point with balls under the names of segments."""
    frame = np.eye(4) if from_first is None else from_first
    masks = {segment.replace("_", " "): balls(grid, *lesions, frame=frame) for segment, lesions in segments.items()}
    return TimePoint(name, Segmentation.of_masks(masks, grid.ijk_to_ras), from_first=frame)


def events(found):
    return [[moment.event for moment in track.moments] for track in found.tracks]


def test_lesions_stay_go_come_merge_split_and_come_back():
    times = [
        time_point(
            "1",
            FINE,
            a=[(15, 20, 10, 7)],
            b=[(20, 40, 30, 6), (34, 40, 30, 6)],
            c=[(50, 20, 25, 9)],
            d=[(55, 50, 40, 6)],
        ),
        time_point(
            "2",
            FINE,
            a=[(15, 20, 12, 6)],
            b=[(20, 40, 30, 7), (32, 40, 30, 7)],
            c=[(50, 15, 25, 4), (50, 26, 25, 4)],
            d=[],
        ),
        time_point(
            "3",
            FINE,
            a=[(15, 20, 12, 5), (40, 30, 10, 5)],
            b=[(26, 40, 30, 7)],
            c=[(50, 15, 25, 4)],
            d=[(55, 50, 40, 5)],
        ),
    ]
    found = follow_up(times)
    assert [track.segment for track in found.tracks] == ["a", "b", "c", "d", "a"]
    assert events(found) == [
        ["baseline", "same", "same"],
        ["baseline", "merged", "same"],
        ["baseline", "split", "same"],
        ["baseline", "gone", "back"],
        ["absent", "absent", "new"],
    ]
    track = found.tracks[1]
    assert track.moments[0].longest_mm == pytest.approx(24, abs=2)  # two diameters of 12 mm
    assert len(track.moments[0].lesions) == 2
    assert found.evaluations[2].overall.category == "PD"
    assert found.evaluations[2].overall.rule.startswith("new lesions")


def test_the_other_grid_and_a_given_transform_change_nothing():
    first = time_point("1", FINE, a=[(15, 20, 12, 7), (40, 30, 30, 6)])
    here = follow_up([first, time_point("2", THICK, a=[(17, 21, 14, 5), (40, 30, 30, 6)])])
    corner = TURN @ THICK.ijk_to_ras
    turned = Grid(THICK.shape_kji, corner)
    there = follow_up([first, time_point("2", turned, TURN, a=[(17, 21, 14, 5), (40, 30, 30, 6)])])
    assert events(here) == events(there) == [["baseline", "same"]] * 2
    changes = [[t.moments[1].volume_ml / t.moments[0].volume_ml for t in found.tracks] for found in (here, there)]
    np.testing.assert_allclose(changes[0], changes[1])
    assert changes[0][0] == pytest.approx((5 / 7) ** 3, rel=0.05)
    shift = np.eye(4)
    shift[:3, 3] = (-300, 20, 90)
    third = Grid(FINE.shape_kji, shift @ FINE.ijk_to_ras)
    last = time_point("3", third, shift, a=[(17, 21, 14, 4), (40, 30, 30, 6)])
    assert events(follow_up([first, there.times[1], last], distance_mm=0)) == [["baseline", "same", "same"]] * 2
    lost = follow_up([first, TimePoint("2", there.times[1].segmentation)])
    assert events(lost) == [["baseline", "gone"]] * 2 + [["absent", "new"]] * 2


def test_lesions_that_moved_apart_are_the_same_when_they_are_near():
    times = [time_point("1", FINE, a=[(20, 20, 20, 4)]), time_point("2", FINE, a=[(20, 29, 20, 4)])]
    assert events(follow_up(times, distance_mm=10)) == [["baseline", "same"]]
    assert events(follow_up(times, distance_mm=8)) == [["baseline", "gone"], ["absent", "new"]]


def test_lesions_of_other_segments_are_others_though_they_overlap():
    times = [time_point("1", FINE, a=[(20, 20, 20, 6)]), time_point("2", FINE, b=[(20, 20, 20, 6)])]
    assert events(follow_up(times)) == [["baseline", "gone"], ["absent", "new"]]


def test_specks_are_no_new_lesions_but_what_is_left_of_one_is_followed():
    times = [time_point("1", FINE, a=[(20, 20, 20, 7)]), time_point("2", FINE, a=[(20, 20, 20, 1), (50, 40, 20, 1.9)])]
    found = follow_up(times)
    assert events(found) == [["baseline", "same"]]
    assert found.left_out == (0, 1)
    assert events(follow_up(times, least_mm=0)) == [["baseline", "same"], ["absent", "new"]]


def test_recist_by_hand_two_of_an_organ_lymph_nodes_by_their_short_axis_and_the_nadir():
    def at(name, sizes, node):
        lesions = [(12, 12, 10, sizes[0]), (12, 40, 25, sizes[1]), (40, 12, 40, sizes[2])]
        return time_point(name, FINE, liver_tumour=[one for one in lesions if one[3]], lymph_node=[(52, 42, 20, node)])

    times = [at("1", (10, 8, 7), 9), at("2", (6, 4, 7), 6), at("3", (8, 6, 7), 6), at("4", (0, 0, 0), 4)]
    found = follow_up(times, nodes=["lymph node"])
    assert [(track.organ, track.is_target) for track in found.tracks] == [
        ("liver", True),
        ("liver", True),
        ("liver", False),
        ("lymph node", True),
    ]
    sums = [2 * (10 + 8 + 9), 2 * (6 + 4 + 6), 2 * (8 + 6 + 6), 2 * 4]
    assert [one.sum_mm for one in found.evaluations] == pytest.approx(sums, abs=3)  # a voxel each
    # 54 -> 32 mm is PR; 40 mm is 25 % and 8 mm over 32 mm: PD, though 26 % below the baseline; then a normal node.
    assert [one.overall.category for one in found.evaluations] == ["baseline", "PR", "PD", "CR"]


def test_a_lesion_that_is_no_target_keeps_a_complete_response_from_being_one():
    kept = [(12, 12, 10, 4)]
    times = [
        time_point("1", FINE, a=[(12, 40, 25, 8)], b=kept),
        time_point("2", FINE, a=[], b=kept),
    ]
    found = follow_up(times)
    assert [track.is_target for track in found.tracks] == [True, False]
    assert found.evaluations[1].target.category == "CR"
    assert found.evaluations[1].overall.category == "PR"


def test_the_table_has_changes_from_the_first_time_and_sums():
    times = [time_point("1", FINE, a=[(20, 20, 20, 8)]), time_point("2", FINE, a=[(20, 20, 20, 4)])]
    found = follow_up(times)
    rows = [dict(zip(TITLES, row, strict=True)) for row in rows_of_follow_up(found)]
    assert [row["lesion"] for row in rows] == [1, 1, "all", "targets", "all", "targets"]
    assert rows[1]["volume_change_percent"] == pytest.approx(-87.5, abs=2)
    assert rows[1]["diameter_change_mm"] == pytest.approx(-8, abs=1)
    assert rows[4]["volume_change_mL"] == rows[1]["volume_change_mL"]
    assert rows[5]["response"] == "PR"
    record = follow_up_record(found)
    assert record["lesions"][0]["moments"][1]["volume_mL"] == rows[1]["volume_mL"]


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, "two time points or more"),
        (2, {"segments": ["x"]}, "expected segments out of a, got x"),
        (2, {"nodes": ["y"]}, "got y"),
    ],
)
def test_what_cannot_be_followed_is_refused(count, options, message):
    times = [time_point("1", FINE, a=[(20, 20, 20, 8)])] * count
    with pytest.raises(PromptError, match=message):
        follow_up(times, **options)


def test_the_page_is_one_file_with_a_picture_of_each_moment_and_escapes_names():
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(50, 20, FINE.shape_kji), 1)
    volume = Volume(values, FINE.ijk_to_ras)
    times = [
        TimePoint("<b>1", Segmentation.of_masks({"a & b": balls(FINE, (20, 20, 20, 8))}, FINE.ijk_to_ras), volume),
        TimePoint("2", Segmentation.of_masks({"a & b": balls(FINE, (20, 20, 20, 6), (50, 40, 3, 5))}, FINE.ijk_to_ras)),
    ]
    page = page_of(follow_up(times))
    assert page.count("<image ") == 1  # the second time point has no image
    assert page.count('aria-label="slice through the lesion"') == 3
    assert "&lt;b&gt;1" in page
    assert "<b>1" not in page
    assert "a &amp; b" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "reaches the image" in page


def test_a_transform_file_says_where_points_of_the_first_are_later(tmp_path):
    transform = sitk.AffineTransform(3)
    lps = LPS_FROM_RAS @ TURN @ LPS_FROM_RAS
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    for name in ("t.tfm", "t.h5", "t.txt"):
        sitk.WriteTransform(transform, str(tmp_path / name))
        np.testing.assert_allclose(read_transform(tmp_path / name), TURN, atol=1e-6)
    (tmp_path / "bad.tfm").write_text("nothing")
    with pytest.raises(GeometryError, match="a readable transform"):
        read_transform(tmp_path / "bad.tfm")
    sitk.WriteTransform(sitk.BSplineTransform(3), str(tmp_path / "b.h5"))
    with pytest.raises(GeometryError, match=r"a linear transform|a readable transform"):
        read_transform(tmp_path / "b.h5")


def test_images_are_registered_rigidly_to_within_a_voxel():
    grid = grid_of("anisotropic", (24, 60, 70), (0, 0, 0))
    matrix = np.eye(4)
    turn = np.deg2rad(6)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:3, 3] = (4, -3, 2)

    def body(at_ras):
        shapes = [((28, 21, 30), (22, 17, 26), 60), ((20, 18, 25), (6, 5, 9), 90), ((38, 26, 38), (5, 4, 6), -80)]
        return sum(value * ((((at_ras - c) / r) ** 2).sum(-1) <= 1) for c, r, value in shapes).astype(np.float32)

    places = voxel_centres_ras(grid)
    first = Volume(body(places), grid.ijk_to_ras)
    later = Volume(body(apply_affine(np.linalg.inv(matrix), places)), grid.ijk_to_ras)
    found = register_rigidly(first, later)
    points = np.array([[20.0, 18, 25], [38, 26, 38], [28, 10, 30]])
    off = np.linalg.norm(apply_affine(found, points) - apply_affine(matrix, points), axis=1)
    assert off.max() < 1.0
    with pytest.raises(VolumeError, match="a 3D image of one value"):
        register_rigidly(first, Volume(np.zeros((1, 4, 4))))


def test_masks_are_carried_over_and_count_once_a_click_confirmed_them():
    before = time_point("1", FINE, tumour=[(15, 20, 12, 7), (40, 30, 30, 6)], empty=[]).segmentation
    carry = CarryOver(before, TURN)
    assert list(carry.pending) == ["tumour", "tumour 2"]
    click = Point(tuple(apply_affine(TURN, (40, 30, 30))))
    with pytest.raises(PromptError, match="a click on a mask that waits"):
        carry.confirm(Point((0.0, 0.0, 0.0)))
    assert carry.confirm(click) == "tumour 2"
    assert list(carry.pending) == ["tumour"]
    mask, kept = carry.confirmed["tumour 2"]
    assert isinstance(mask, MaskPrompt)
    assert kept == click
    volume = Volume(np.zeros(FINE.shape_kji), TURN @ FINE.ijk_to_ras)
    session = Session(volume, "classical", auto=False)
    session.add(mask)
    np.testing.assert_array_equal(session.mask_kji, balls(FINE, (40, 30, 30, 6)))
    carry.drop("tumour")
    assert not carry.pending
    with pytest.raises(PromptError, match="out of none"):
        carry.drop("tumour")
