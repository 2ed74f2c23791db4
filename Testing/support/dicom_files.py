"""DICOM files as scanners write them, by pydicom: enhanced ones have a place and a slope for each frame."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

AXIAL = (1, 0, 0, 0, 1, 0)


def item(**values):
    """Return a sequence of one item with these attributes."""
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return [dataset]


def base_dataset(path, frames, sop=pydicom.uid.EnhancedMRImageStorage, **values):
    """Return a dataset with `frames` : (n, j, i) as its native pixel data and what every image has."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = values.pop("syntax", pydicom.uid.ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop, pydicom.uid.generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.Modality, dataset.InstanceNumber = "1.2.3", "MR", 1
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * frames.dtype.itemsize
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(frames.dtype.kind == "i")
    dataset.PixelData = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def write_enhanced(path, values, positions, orientations=None, slopes=None, contents=None, **shared):
    """Write frames of 4 x 5 pixels of one value each.

    positions: LPS, mm. contents: what FrameContentSequence says of each. shared: PixelSpacing, and the dataset's
    own attributes. Returns the path.
    """
    frames = np.repeat(np.asarray(values, np.uint16), 20).reshape(-1, 4, 5)
    spacing = shared.pop("PixelSpacing", [0.8, 0.7])
    dataset = base_dataset(path, frames, **shared)
    groups = []
    for number, position in enumerate(positions):
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=list(position))
        group.PlaneOrientationSequence = item(
            ImageOrientationPatient=list(AXIAL if orientations is None else orientations[number])
        )
        if slopes is not None:
            group.PixelValueTransformationSequence = item(
                RescaleSlope=slopes[number], RescaleIntercept=-number, RescaleType="US"
            )
        if contents is not None:
            group.FrameContentSequence = item(**contents[number])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.SharedFunctionalGroupsSequence = item(PixelMeasuresSequence=item(PixelSpacing=spacing, SliceThickness=9))
    save(dataset, path)
    return path


def save(dataset, path):
    """Save by pydicom 2 or 3."""
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.save_as(path, write_like_original=False)
