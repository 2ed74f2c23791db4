"""Data described in YAML, and one label map between data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_files import write_with_itk

from PromptSegLib.errors import VolumeError
from PromptSegLib.evaluation.cases import BenchmarkCase
from PromptSegLib.evaluation.label_map import ManifestError, label_map_from
from PromptSegLib.evaluation.manifest import Source, read_data
from PromptSegLib.view import Window

MANIFEST = """
datasets:
  First CT:
    folder: data/first
    source: https://example.org/first
    license: CC0
    window: [-160, 240]
  Clinic:
    images: "clinic/*/ct.nii.gz"
    truth: "clinic/*/truth.nii.gz"
labels:
  liver: {First CT: 5, Clinic: 1}
  kidney: {First CT: [2, 3]}
"""


def write(path, *values):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((4, 5, 6), np.uint8)
    for number, value in enumerate(values):
        array[1, number, 1:4] = value
    write_with_itk(path, array)


@pytest.fixture
def manifest(tmp_path):
    write(tmp_path / "data" / "first" / "a" / "image.nii.gz", 9)
    write(tmp_path / "data" / "first" / "a" / "labels.nii.gz", 2, 3, 5, 7)
    for name in ("anna", "bert"):
        write(tmp_path / "clinic" / name / "ct.nii.gz", 9)
        write(tmp_path / "clinic" / name / "truth.nii.gz", 1)
    path = tmp_path / "benchmark.yaml"
    path.write_text(MANIFEST)
    return path


def test_a_manifest_brings_data_sets_under_one_list_of_names(manifest):
    data = read_data(manifest)
    assert [case.key for case in data.cases] == [
        "First CT/a/kidney",
        "First CT/a/liver",
        "Clinic/anna/liver",
        "Clinic/bert/liver",
    ]
    kidney = data.cases[0]
    assert (kidney.values, kidney.window) == ((2, 3), Window(-160, 240))
    assert int(kidney.load().truth_kji.sum()) == 6
    assert data.cases[2].window is None
    assert data.sources == (Source("First CT", "https://example.org/first", "CC0"), Source("Clinic"))


def test_a_label_map_of_its_own_takes_the_place_of_the_manifests(manifest, tmp_path):
    labels = tmp_path / "labels.yaml"
    labels.write_text("anything: [5, 1]\n")
    assert [case.key for case in read_data(manifest, labels).cases] == [
        "First CT/a/anything",
        "Clinic/anna/anything",
        "Clinic/bert/anything",
    ]
    folder = read_data(tmp_path / "data", labels)
    assert [case.key for case in folder.cases] == ["first/a/anything"]
    manifest.write_text(MANIFEST[: MANIFEST.index("labels:")] + "labels: labels.yaml\n")
    assert len(read_data(manifest).cases) == 3


def test_structures_in_files_of_their_own_are_mapped_by_name():
    def case(structure):
        return BenchmarkCase("slices", "a", structure, Path("a.png"), Path(f"{structure}.png"))

    found = label_map_from({"lung": {"slices": "lung_*"}, "liver": {"slices": "liver"}}, "here").apply(
        [case("lung_left"), case("lung_right"), case("liver"), case("liver_tumour")]
    )
    assert [(c.structure, c.truth.name) for c in found] == [
        ("lung left", "lung_left.png"),
        ("lung right", "lung_right.png"),
        ("liver", "liver.png"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("folder: data/first", "folder: data/first\n    images: x"), "folder, or images and truth"),
        (("source:", "sauce:"), "and source, license, window for 'First CT'"),
        (("[-160, 240]", "[240, -160]"), r"window \[low, high\] for 'First CT'"),
        (("[-160, 240]", "40"), r"window \[low, high\]"),
        (("clinic/*/truth", "clinic/truth"), 'one "\\*" each'),
        (("clinic/*/ct", "clinic/*/mr"), "got none"),
        (("/truth.nii.gz", "/label.nii.gz"), "no such file"),
        (("First CT: 5", "First CT: 0"), "label's value.*liver.*got 0"),
        (("[2, 3]", "{a: b}"), "label's value"),
        (("datasets:", "sets:"), "datasets with their names"),
        (("liver: {First CT: 5, Clinic: 1}", "liver: 77"), None),
    ],
)
def test_what_makes_no_sense_is_said(manifest, change, message):
    manifest.write_text(MANIFEST.replace(*change))
    if message is None:
        assert {case.structure for case in read_data(manifest).cases} == {"kidney"}
        return
    with pytest.raises(ManifestError, match=message):
        read_data(manifest)


def test_no_structure_no_yaml_and_no_folder(manifest, tmp_path):
    manifest.write_text(MANIFEST[: MANIFEST.index("labels:")] + "labels: {liver: 77}\n")
    with pytest.raises(ManifestError, match="First CT: label 2"):
        read_data(manifest)
    manifest.write_text("datasets: [")
    with pytest.raises(ManifestError, match="readable YAML"):
        read_data(manifest)
    manifest.write_text("datasets: {a: {folder: nowhere}}")
    with pytest.raises(VolumeError, match="nowhere"):
        read_data(manifest)
