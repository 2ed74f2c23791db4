"""Every file with pixels that pydicom and nibabel ship: as they read it, voxel for voxel and place for place."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import open_image

pytestmark = pytest.mark.filterwarnings("ignore")

NIBABEL = Path(nibabel.__file__).parent
PYDICOM = Path(pydicom.__file__).parent / "data"
NIFTIS = sorted(path for path in NIBABEL.rglob("*") if path.name.endswith((".nii", ".nii.gz")))
DICOMS = sorted(path for folder in (PYDICOM, NIBABEL) for path in folder.rglob("*") if path.is_file())


# What GDCM or pydicom make something of, and we refuse: "1A" frames; one frame, and three descriptions of frames.
REFUSED = ("'1A'", "1 frames, and 3 descriptions")

FAILURES = (AttributeError, EOFError, NotImplementedError, OSError, TypeError, ValueError, InvalidDicomError)


def has_pixels(path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
            return "PixelData" in dataset and "Rows" in dataset
    except FAILURES:
        return False


def opened(path):
    """Return a file that can be read and nothing, or None and why it cannot."""
    try:
        file = open_image(path)
        file.volume(0)
        return file, ""
    except VolumeError as error:
        return None, str(error)


def named(paths):
    return [pytest.param(path, id="/".join(path.parts[-3:])) for path in paths]


def stored(path, dataset):
    """Return the pixels as pydicom decodes them, or GDCM where it cannot; None when neither can."""
    try:
        return dataset.pixel_array
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        try:
            return np.squeeze(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        except RuntimeError:
            return None


def real_values(path, dataset):
    array = stored(path, dataset)
    if array is None:
        return None
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        try:
            from pydicom.pixels.processing import apply_color_lut
        except ImportError:
            from pydicom.pixel_data_handlers.util import apply_color_lut
        return apply_color_lut(array, dataset)
    if pydicom.__version__ < "3" and dataset.PhotometricInterpretation.startswith("YBR_FULL"):
        from pydicom.pixel_data_handlers.util import convert_color_space

        return convert_color_space(array, dataset.PhotometricInterpretation, "RGB")
    return array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))


@pytest.mark.parametrize("path", named(path for path in DICOMS if has_pixels(path)))
def test_a_dicom_file_is_read_as_pydicom_reads_it_or_refused_in_a_line(path):
    dataset = pydicom.dcmread(path, force=True)
    expected = real_values(path, dataset)
    file, message = opened(path)
    if file is None:
        assert "\n" not in message
        assert path.name in message
        assert expected is None or any(reason in message for reason in REFUSED), message
        return
    volume = file.volume()
    assert expected is not None
    shape = volume.array.shape if volume.array.shape[0] > 1 else volume.array.shape[1:]
    assert shape == expected.shape
    assert np.allclose(volume.array.reshape(shape), expected, rtol=1e-6, atol=1e-6)
    if "ImagePositionPatient" in dataset:
        check_place(volume, dataset)


def check_place(volume, dataset):
    """Compare with PS3.3, C.7.6.2.1.1, in LPS."""
    row, column = np.reshape([float(value) for value in dataset.ImageOrientationPatient], (2, 3))
    between_rows, between_columns = (float(value) for value in dataset.PixelSpacing)
    offsets = [float(value) for value in dataset.get("GridFrameOffsetVector", [0])]
    origin = np.array([float(value) for value in dataset.ImagePositionPatient])
    for k in (0, volume.array.shape[0] - 1):
        first = origin + (offsets[k] - offsets[0]) * np.cross(row, column)
        lps = first + 3 * between_columns * row + 2 * between_rows * column
        assert np.allclose(volume.grid.to_ras((3, 2, k)), lps * (-1, -1, 1), atol=1e-4)


@pytest.mark.parametrize("path", named(NIFTIS))
def test_a_nifti_file_is_read_as_nibabel_reads_it_or_refused_in_a_line(path):
    image = nibabel.load(path)
    expected = np.asanyarray(image.dataobj)
    file, message = opened(path)
    if file is None:
        assert "\n" not in message
        assert type(image).__name__ == "Cifti2Image", "a matrix between parcels of a surface"
        return
    for time_point in {0, file.time_points - 1}:
        volume = file.volume(time_point)
        values = expected[..., time_point] if expected.ndim == 4 else expected
        assert np.allclose(volume.array, values.T, equal_nan=True, rtol=1e-6)
        assert np.allclose(volume.ijk_to_ras, image.affine, atol=1e-5)


def test_there_are_files_to_compare():
    assert len(NIFTIS) >= 8
    assert sum(map(has_pixels, DICOMS)) > 90
