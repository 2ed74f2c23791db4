"""The factor to SUV out of DICOM headers, written by pydicom, with what a header may lack."""

import sys

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import Segment, read_volume, write_segmentation
from PromptSegLib.measurement.dicom_header import read_header, suv_factor
from PromptSegLib.measurement.image_unit import read_measured_image

HALF_LIFE_S = 6586.2  # of fluorine-18


def write_pet(folder, slices=4, tracer=None, **changes):
    """Write a PET series of 20 x 24 pixels, 4 x 4 x 5 mm; a value of None leaves an attribute out."""
    folder.mkdir(exist_ok=True)
    series, frame = generate_uid(), generate_uid()
    of_tracer = {
        "RadionuclideTotalDose": 370e6,
        "RadionuclideHalfLife": HALF_LIFE_S,
        "RadiopharmaceuticalStartTime": "100000",
    } | (tracer or {})
    tags = {
        "Modality": "PT", "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "PatientWeight": 74, "SeriesDate": "20240105", "SeriesTime": "110000.00", "AcquisitionDate": "20240105",
        "AcquisitionTime": "110000.00", "PatientName": "Phantom", "PatientID": "1", "StudyInstanceUID": generate_uid(),
    } | changes  # fmt: skip
    for k in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        for name, value in tags.items():
            if value is not None:
                setattr(one, name, value)
        item = pydicom.Dataset()
        for name, value in of_tracer.items():
            if value is not None:
                setattr(item, name, value)
        one.RadiopharmaceuticalInformationSequence = Sequence([item])
        one.SeriesInstanceUID, one.FrameOfReferenceUID, one.InstanceNumber = series, frame, k + 1
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 5 * k], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [4, 4], 5
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 20, 24, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.RescaleSlope, one.RescaleIntercept = 2.5, 0
        one.PixelData = np.full((20, 24), 1000 + k, np.uint16).tobytes()
        one.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


def factor_of(folder):
    return suv_factor(read_header(folder))


def test_the_dose_decays_from_the_injection_to_the_start_of_the_scan(tmp_path):
    expected = 74_000 / (370e6 * 2 ** (-3600 / HALF_LIFE_S))
    assert factor_of(write_pet(tmp_path / "a")) == pytest.approx(expected)
    full = {"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20240105100000.00"}
    assert factor_of(write_pet(tmp_path / "b", tracer=full)) == pytest.approx(expected)
    zone = full | {"RadiopharmaceuticalStartDateTime": "20240105090000+0000"}
    assert factor_of(write_pet(tmp_path / "c", tracer=zone, TimezoneOffsetFromUTC="+0100")) == pytest.approx(expected)


def test_a_dose_that_is_not_to_decay_does_not(tmp_path):
    assert factor_of(write_pet(tmp_path / "a", DecayCorrection="ADMIN")) == pytest.approx(74_000 / 370e6)


def test_an_injection_before_midnight_is_of_the_day_before(tmp_path):
    times = {"SeriesTime": "003000", "AcquisitionTime": "003000"}
    folder = write_pet(tmp_path / "a", tracer={"RadiopharmaceuticalStartTime": "233000.000"}, **times)
    assert factor_of(folder) == pytest.approx(74_000 / (370e6 * 2 ** (-3600 / HALF_LIFE_S)))


def test_values_that_are_suv_by_body_weight_already_stay(tmp_path):
    assert factor_of(write_pet(tmp_path / "a", Units="GML")) == 1
    assert factor_of(write_pet(tmp_path / "b", Units="GML", SUVType="BW")) == 1


@pytest.mark.parametrize(
    ("changes", "tracer", "message"),
    [
        ({"Units": "CNTS"}, {}, "expected BQML or GML as Units in the header of"),
        ({"Units": "GML", "SUVType": "LBM"}, {}, "expected BW as SUVType"),
        ({"DecayCorrection": "NONE"}, {}, "expected START or ADMIN as DecayCorrection"),
        ({"CorrectedImage": ["ATTN"]}, {}, "expected ATTN and DECY as CorrectedImage"),
        ({"PatientWeight": None}, {}, "as PatientWeight in the header of"),
        ({"PatientWeight": 0}, {}, "expected at least 0.1 as PatientWeight"),
        ({}, {"RadionuclideTotalDose": None}, "as RadionuclideTotalDose"),
        ({}, {"RadionuclideTotalDose": 370}, "expected at least 1e+06 as RadionuclideTotalDose"),
        ({}, {"RadionuclideHalfLife": None}, "as RadionuclideHalfLife"),
        ({}, {"RadiopharmaceuticalStartTime": None}, "expected a time as RadiopharmaceuticalStartTime"),
        ({"SeriesTime": "170000"}, {}, "no later than the first AcquisitionTime as SeriesTime"),
        ({"SeriesDate": None}, {}, "expected a date as SeriesDate"),
        ({"Modality": "CT"}, {}, "expected PT as Modality"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_guessed(tmp_path, changes, tracer, message):
    with pytest.raises(VolumeError) as caught:
        factor_of(write_pet(tmp_path / "a", tracer=tracer, **changes))
    assert message in str(caught.value)
    assert str(caught.value).endswith("give the factor from the image's values to SUV yourself")


def test_the_command_measures_suvs_by_the_header_or_by_the_factor_that_is_given(tmp_path, promptseg):
    folder = write_pet(tmp_path / "pet")
    volume = read_volume(folder)
    mask = np.zeros(volume.grid.shape_kji, bool)
    mask[1:3, 8:12, 10:14] = True
    write_segmentation(tmp_path / "m.seg.nrrd", [Segment("lesion", mask)], volume.grid)
    factor = 74_000 / (370e6 * 2 ** (-3600 / HALF_LIFE_S))
    (case,) = promptseg("measure", tmp_path / "m.seg.nrrd", "--image", folder, "--json").json["cases"]
    (segment,) = case["segments"]
    assert segment["suv_max_g/mL"] == pytest.approx(1002 * 2.5 * factor)
    assert segment["mean_SUV"] == pytest.approx(1001.5 * 2.5 * factor)
    assert segment["mtv_mL"] == pytest.approx(32 * 0.08)
    assert segment["tlg_g"] == pytest.approx(32 * 0.08 * 1001.5 * 2.5 * factor)
    given = promptseg("measure", tmp_path / "m.seg.nrrd", "--image", folder, "--suv-factor", "0.01", "--json").json
    assert given["cases"][0]["segments"][0]["suv_mean_g/mL"] == pytest.approx(1001.5 * 0.025)


def test_a_ct_in_dicom_is_in_hu_and_without_pydicom_its_unit_is_not_known(tmp_path, monkeypatch):
    write_pet(tmp_path / "ct", Modality="CT", Units=None)
    assert read_measured_image(tmp_path / "ct").unit == "HU"
    assert read_measured_image(write_pet(tmp_path / "dual", Modality="CT", RescaleType="MGML")).unit == "MGML"
    assert read_measured_image(write_pet(tmp_path / "unsaid", Modality="CT", RescaleType="US")).unit == ""
    assert read_measured_image(tmp_path / "ct", unit="mg").unit == "mg"
    monkeypatch.setitem(sys.modules, "pydicom", None)
    without = read_measured_image(tmp_path / "ct")
    assert (without.unit, without.suv_factor) == ("", None)
    assert without.problem.startswith("unit not known: expected the package pydicom")
    with pytest.raises(VolumeError, match="expected the package pydicom"):
        read_measured_image(tmp_path / "ct", wants_suv=True)


def test_without_a_factor_values_keep_their_unit_and_a_line_says_why(tmp_path, promptseg):
    folder = write_pet(tmp_path / "pet", PatientWeight=None)
    image = read_measured_image(folder)
    assert (image.unit, image.suv_factor) == ("Bq/mL", None)
    volume = image.volume
    write_segmentation(tmp_path / "m.nrrd", [Segment("x", np.ones(volume.grid.shape_kji, bool))], volume.grid)
    outcome = promptseg("measure", tmp_path / "m.nrrd", "--image", folder, "-o", tmp_path / "t.csv")
    assert outcome.status == 0
    assert "no SUVs: expected at least 0.1 as PatientWeight" in outcome.err
    assert "mean_Bq/mL" in (tmp_path / "t.csv").read_text()
    refused = promptseg.refuses("measure", tmp_path / "m.nrrd", "--image", folder, "--suv")
    assert "as PatientWeight in the header of" in refused
