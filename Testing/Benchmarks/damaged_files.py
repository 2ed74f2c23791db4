"""Damage files of every format that is read, and count what becomes of them.

    python Testing/Benchmarks/damaged_files.py [--count 500] [--seed 0] [FORMAT …]

Each file is read in a process of its own, as it is and by the reference library of its format: nibabel, pynrrd,
SimpleITK, pydicom. Counted are:

- right: read as before the damage, voxels and place
- refused: one line
- as the reference: other voxels or another place than before, and the reference library reads the same
- nothing can tell: the reference library refuses the file for reasons of its own, or has no reader
- WRONG: a traceback, a crash, more than a line; a file whose checksum fails and that was read otherwise all the
  same; or a file that the reference library reads otherwise
"""

from __future__ import annotations

import argparse
import gzip
import os
import pickle
import signal
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pydicom
import SimpleITK as sitk

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from dicom_files import base_dataset, save, write_enhanced  # noqa: E402
from image_files import ijk_to_ras, write_with_itk  # noqa: E402

from PromptSegLib.errors import PromptSegError  # noqa: E402
from PromptSegLib.io import open_image  # noqa: E402

VOXELS = (np.random.default_rng(0).normal(0, 20, (12, 40, 44)) + 100).astype(np.int16)
PICTURE = VOXELS[0].clip(0, 255).astype(np.uint8)
LONGEST_READ_S = 60


def raw(path, matrix):
    """Write a NIfTI, NRRD or MetaImage that is not compressed."""
    compressed = write_with_itk(path, VOXELS, matrix)
    sitk.WriteImage(sitk.ReadImage(str(compressed)), str(path), False)
    return path


def dicom(path, syntax=None, frames=VOXELS[:1]):
    """Write a slice as DICOM; compressed ones out of codestreams that ITK makes."""
    dataset = base_dataset(path, frames, pydicom.uid.CTImageStorage)
    del dataset.NumberOfFrames
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [10, 20, 30], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [0.8, 0.7], 1, -1024
    if syntax is None:
        save(dataset, path)
        return path
    image = sitk.GetImageFromArray(frames[0])
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    if syntax == "RLE":
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path, enforce_file_format=True)
        return path
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(syntax)
    writer.SetFileName(str(path))
    writer.Execute(image)
    return path


def formats(folder):
    """Return, by name, a file of each format and its reference."""
    matrix = ijk_to_ras()
    noise = [100 + k for k in range(6)]
    return {
        "nii": (raw(folder / "a.nii", matrix), by_nibabel),
        "nii.gz": (write_with_itk(folder / "a.nii.gz", VOXELS, matrix), by_nibabel),
        "nrrd": (raw(folder / "a.nrrd", matrix), by_pynrrd),
        "nrrd gzip": (write_with_itk(folder / "b.nrrd", VOXELS, matrix), by_pynrrd),
        "mha": (raw(folder / "a.mha", matrix), by_itk),
        "mha zlib": (write_with_itk(folder / "b.mha", VOXELS, matrix), by_itk),
        "png": (write_with_itk(folder / "a.png", PICTURE), by_itk),
        "jpeg": (write_with_itk(folder / "a.jpg", PICTURE), by_itk),
        "tiff": (write_with_itk(folder / "a.tif", PICTURE), by_itk),
        "dicom": (dicom(folder / "a.dcm"), by_pydicom),
        "dicom rle": (dicom(folder / "rle.dcm", "RLE"), by_pydicom),
        "dicom jpeg lossless": (dicom(folder / "jpeg.dcm", "JPEG"), by_pydicom),
        "dicom jpeg 2000": (dicom(folder / "j2k.dcm", "JPEG2000"), by_pydicom),
        "dicom enhanced": (
            write_enhanced(folder / "e.dcm", noise, [(1, 2, 3 * k) for k in range(6)], slopes=[1] * 6),
            by_pydicom,
        ),
    }


def by_nibabel(path):
    image = nibabel.load(path)
    return np.asanyarray(image.dataobj).T, image.affine


def by_itk(path):
    image = sitk.ReadImage(str(path))
    count = image.GetDimension()
    space = min(count, 3)
    matrix = np.eye(4)
    matrix[:space, :space] = (np.reshape(image.GetDirection(), (count, count)) * image.GetSpacing())[:space, :space]
    matrix[:space, 3] = image.GetOrigin()[:space]
    return sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ matrix


def by_pynrrd(path):
    """Voxels by pynrrd; the place by ITK, as pynrrd gives no affine."""
    return nrrd.read(str(path))[0].T, by_itk(path)[1]


def by_pydicom(path):
    """Voxels in the order of places; no place: that is the frames' own, which the tests look at."""
    dataset = pydicom.dcmread(path)
    array = dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups:
        slopes = [float(group.PixelValueTransformationSequence[0].RescaleSlope) for group in groups]
        offsets = [float(group.PixelValueTransformationSequence[0].RescaleIntercept) for group in groups]
        array = array * np.reshape(slopes, (-1, 1, 1)) + np.reshape(offsets, (-1, 1, 1))
        heights = [float(group.PlanePositionSequence[0].ImagePositionPatient[2]) for group in groups]
        array = array[np.argsort(heights, kind="stable")]
    return array, None


def damaged(content, random):
    """Return `content` with one damage, of those that disks, networks and programs do."""
    data = bytearray(content)
    at = int(random.integers(len(data)))
    in_header = int(random.integers(min(len(data), 700)))
    kind = int(random.integers(8))
    if kind == 0:
        data[at] ^= 1 << int(random.integers(8))
    elif kind == 1:
        data[in_header] ^= 1 << int(random.integers(8))
    elif kind == 2:
        data[in_header] = int(random.integers(256))
    elif kind == 3:
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == 4:
        sector = at // 512 * 512
        data[sector : sector + 512] = bytes(len(data[sector : sector + 512]))
    elif kind == 5:
        del data[at:]
    elif kind == 6:
        del data[at : at + int(random.integers(1, 20))]
    else:
        data[at:at] = data[at : at + 512]
    return bytes(data)


def checksum_fails(name, content):
    """Tell whether the format's own checksum says that the file is damaged."""
    try:
        if name == "nii.gz":
            gzip.decompress(content)
        elif name == "nrrd gzip":
            zlib.decompressobj(31).decompress(content[content.index(b"\n\n") + 2 :])
            return not ends(zlib.decompressobj(31), content[content.index(b"\n\n") + 2 :])
        elif name == "mha zlib":
            return not ends(zlib.decompressobj(15), content[content.index(b"LOCAL\n") + 6 :])
    except (OSError, EOFError, ValueError, zlib.error):
        return True
    return False


def ends(unpacker, packed):
    unpacker.decompress(packed)
    return unpacker.eof


def same(one, other):
    """Tell whether two readings agree; a place of None agrees with any."""
    a, b = np.squeeze(one[0]), np.squeeze(other[0])
    if a.shape != b.shape and a.ndim == b.ndim == 4:
        b = np.moveaxis(b, -1, 0)
    places = one[1] is None or other[1] is None or np.allclose(one[1], other[1], atol=1e-3, equal_nan=True)
    return a.shape == b.shape and places and np.allclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


def ours(path):
    file = open_image(path)
    volumes = [file.volume(number) for number in range(file.time_points)]
    array = volumes[0].array if len(volumes) == 1 else np.stack([volume.array for volume in volumes])
    return array, volumes[0].ijk_to_ras


def outcome(name, path, before, reference):
    """Say what becomes of a damaged file."""
    try:
        read = ours(path)
    except PromptSegError as error:
        return "refused" if "\n" not in str(error) else f"WRONG: several lines: {error}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return f"WRONG: {error!r}"
    if same(read, before):
        return "right"
    if checksum_fails(name, path.read_bytes()):
        return "WRONG: its checksum fails"
    found = []
    # ITK gives enhanced DICOM no place of its own, and NIfTI another place without any form.
    for library in [reference] if reference is by_pydicom else dict.fromkeys((reference, by_itk)):
        try:
            found.append(same(read, library(path)))
        except BaseException:  # noqa: BLE001 - the reference refuses it in its own way
            continue
    if not found:
        return "nothing can tell"
    return "as the reference" if any(found) else "WRONG: the reference reads it otherwise"


def in_a_process(function, *arguments):
    """Return what `function` returns, or how the process ended that ran it."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.alarm(LONGEST_READ_S)
        warnings.simplefilter("ignore")
        with os.fdopen(sending, "wb") as pipe:
            pickle.dump(function(*arguments), pipe)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        content = pipe.read()
    status = os.waitpid(child, 0)[1]
    return pickle.loads(content) if content and status == 0 else f"WRONG: the process ended with {status}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that were read wrong")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, reference) in formats(Path(folder)).items():
            if arguments.formats and name not in arguments.formats:
                continue
            content, before = path.read_bytes(), ours(path)
            random = np.random.default_rng(arguments.seed)
            counts = Counter()
            for number in range(arguments.count):
                path.write_bytes(damaged(content, random))
                what = in_a_process(outcome, name, path, before, reference)
                counts[what.split(":")[0]] += 1
                if what.startswith("WRONG"):
                    print(f"  {name} {number}: {what[:300]}")
                    if arguments.keep:
                        arguments.keep.mkdir(exist_ok=True)
                        (arguments.keep / f"{number}_{path.name}").write_bytes(path.read_bytes())
            path.write_bytes(content)
            wrong += counts["WRONG"]
            print(f"{name:20}", ", ".join(f"{what} {count}" for what, count in sorted(counts.items())), flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
