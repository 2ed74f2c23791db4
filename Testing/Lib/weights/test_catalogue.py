"""The catalogue that is shipped: complete, consistent, and honest about what is not known."""

from urllib.parse import urlparse

import pytest

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.catalogue import WeightFile, load_catalogue
from PromptSegLib.weights.instructions import how_to_get

CATALOGUE = load_catalogue()
FILES = [(name, file) for name, checkpoint in CATALOGUE.items() for file in checkpoint.files]

PERMISSIVE = ("Apache-2.0", "MIT", "BSD-3-Clause")


def test_every_system_that_is_planned_is_there():
    expected = "sam-vit-b sam-vit-l sam-vit-h medsam sam-med2d ft-sam sam-unet-res34 sam-unet-res50 "
    expected += "sam2.1-tiny sam2.1-small sam2.1-base-plus sam2.1-large medsam2 sam3 scribbleprompt "
    expected += "sam-med3d-turbo sam-med3d-turbo-cvpr-coreset nninteractive nninteractive-other "
    expected += "stu-net-s stu-net-b stu-net-l stu-net-h uniseg sat-nano sat-pro voxtell voxtell-text-encoder "
    expected += "clip-words vista3d autopet-2022"
    assert list(CATALOGUE) == expected.split()


def test_weights_that_are_not_plainly_free_ask_for_consent():
    asking = {name for name, checkpoint in CATALOGUE.items() if checkpoint.consent}
    assert asking == {name for name, checkpoint in CATALOGUE.items() if checkpoint.weights_license not in PERMISSIVE}


@pytest.mark.parametrize(("name", "file"), FILES, ids=[f"{name}-{file.path}" for name, file in FILES])
def test_a_file_is_downloaded_by_https_from_a_host_that_serves_files(name, file):
    hosts = ("dl.fbaipublicfiles.com", "huggingface.co", "developer.download.nvidia.com")
    for url in file.urls:
        assert urlparse(url).scheme == "https"
        assert urlparse(url).hostname in hosts
        assert url.endswith(file.path)
    assert file.page.startswith("https://")
    text = how_to_get(CATALOGUE[name], [file], None, by_hand=True)
    assert (file.urls[0] if file.urls else file.page) in text


def test_no_two_checkpoints_share_a_file_name_in_a_flat_offline_folder():
    single = [checkpoint.file().path for checkpoint in CATALOGUE.values() if len(checkpoint.files) == 1]
    assert len(single) == len(set(single))


def test_hashes_are_stated_once_each():
    hashes = [file.sha256 for _, file in FILES if file.sha256 is not None]
    assert len(hashes) == len(set(hashes)) == 12


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "C:/x", "a\\b", ""])
def test_a_path_that_leaves_its_folder_is_refused(path):
    with pytest.raises(WeightsError, match="must be relative"):
        WeightFile(path=path, page="")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not toml", "is no catalogue"),
        ("[a]\ntitle = 'x'\n", "a: 'files'"),
        ("[a]\nfiles = []\n", "a: .*missing"),
        ("[a]\n[[a.files]]\npath = 'x'\npage = ''\nurls = []\nsha256 = 'abc'\nsha256_source = 'official'", "64"),
        ("[a]\n[[a.files]]\npath = 'x'\npage = ''\nurls = []\nsha256 = 'abc'", "come together"),
        ("[a]\n[[a.files]]\npath = 'x'\npage = ''\nurls = []\ncolour = 'red'", "colour"),
    ],
)
def test_a_faulty_catalogue_says_where(text, complaint, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(WeightsError, match=complaint):
        load_catalogue(tmp_path / "c.toml")
