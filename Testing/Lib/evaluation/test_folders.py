"""Cases are found in folders as data sets are laid out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from image_files import write_with_itk

from PromptSegLib.errors import VolumeError
from PromptSegLib.evaluation.folders import find_cases

IMAGE = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
LABELS = np.zeros_like(IMAGE, dtype=np.uint8)
LABELS[1:3, 1:3, 1:3], LABELS[3, 4, 5] = 5, 52


def keys(cases):
    return [case.key for case in cases]


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_with_itk(path, array)


def test_an_image_beside_its_labels_is_a_case_for_each_value(tmp_path):
    write(tmp_path / "ct" / "image.nii.gz", IMAGE)
    write(tmp_path / "ct" / "labels.nii.gz", LABELS)
    first, second = find_cases(tmp_path)
    assert keys([first, second]) == ["ct/ct/label 5", "ct/ct/label 52"]
    loaded = first.load()
    assert np.array_equal(loaded.truth_kji, LABELS == 5)
    assert np.array_equal(loaded.volume.array, IMAGE)
    assert loaded.dimensions == 3


def test_images_of_one_name_in_several_folders_are_told_apart(tmp_path):
    for part in ("train", "test"):
        write(tmp_path / "d" / part / "a" / "image.nii.gz", IMAGE)
        write(tmp_path / "d" / part / "a" / "labels.nii.gz", (LABELS == 5).astype(np.uint8))
    assert keys(find_cases(tmp_path)) == ["d/test/a/label 1", "d/train/a/label 1"]


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    write(tmp_path / "image.nii.gz", IMAGE)
    write(tmp_path / "labels.nii.gz", LABELS)
    before = find_cases(tmp_path)[0].load()
    write(tmp_path / "image.nii.gz", IMAGE + 1)
    write(tmp_path / "labels.nii.gz", np.roll(LABELS, 1, axis=0))
    after = find_cases(tmp_path)[0].load()
    assert np.array_equal(after.volume.array, before.volume.array + 1)
    assert np.array_equal(after.truth_kji, np.roll(before.truth_kji, 1, axis=0))


def test_the_layout_of_nnunet_has_names(tmp_path):
    write(tmp_path / "imagesTr" / "a_0000.nii.gz", IMAGE)
    write(tmp_path / "labelsTr" / "a.nii.gz", LABELS)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 5}}))
    assert keys(find_cases(tmp_path)) == [f"{tmp_path.name}/a/liver"]


def test_a_mask_of_a_picture_belongs_to_the_longest_name_that_it_begins_with(tmp_path):
    for name in ("scan", "scan_1"):
        write(tmp_path / "s" / "images" / f"{name}.png", np.zeros((5, 6), np.uint8))
    mask = np.zeros((5, 6), np.uint8)
    mask[2, 3] = 255
    write(tmp_path / "s" / "masks" / "scan_1_liver_000.png", mask)
    (case,) = find_cases(tmp_path)
    assert case.key == "s/scan_1/liver_000"
    assert case.load().dimensions == 2
    assert np.argwhere(case.load().truth_kji).tolist() == [[0, 2, 3]]


def test_scribbles_of_people_come_with_their_voxels(tmp_path):
    image, mask = np.zeros((5, 6), np.float16), np.zeros((5, 6), np.uint8)
    mask[1:4, 2:5] = 1
    scribbles = np.zeros((2, 2, 5, 6), np.uint8)
    scribbles[0, 0, 2, 3] = scribbles[0, 1, 0, 0] = scribbles[1, 0, 1:3, 2] = 1
    np.savez(tmp_path / "BTCV_7_axis1.npz", image=image, mask=mask, scribbles=scribbles)
    (case,) = find_cases(tmp_path)
    assert case.key == f"{tmp_path.name}/BTCV_7_axis1/BTCV"
    (on, beside), (other,) = case.load().scribbles
    assert (on.points_ras, on.positive) == (((3.0, 2.0, 0.0),), True)
    assert (beside.points_ras, beside.positive) == (((0.0, 0.0, 0.0),), False)
    assert (other.points_ras, other.positive) == (((2.0, 1.0, 0.0), (2.0, 2.0, 0.0)), True)


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(VolumeError, match="got none of them"):
        find_cases(tmp_path)
    with pytest.raises(VolumeError, match="expected a folder"):
        find_cases(tmp_path / "nowhere")
    write(tmp_path / "image.nii.gz", IMAGE)
    write(tmp_path / "labels.nii.gz", LABELS[:3])
    with pytest.raises(VolumeError, match=r"expected labels of shape \(4, 5, 6\).*got \(3, 5, 6\)"):
        find_cases(tmp_path)[0].load()
    np.savez(tmp_path / "a.npz", image=IMAGE)
    with pytest.raises(VolumeError, match=r"arrays image and mask in .*a\.npz, got image"):
        find_cases(tmp_path)[-1].load()
