"""Images as files, as scanners and other programs write them."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from PromptSegLib.geometry import LPS_FROM_RAS, Grid

OBLIQUE = Rotation.from_euler("xyz", [20, -15, 40], degrees=True).as_matrix()


def ijk_to_ras(spacing_mm=(0.7, 0.8, 2.5), directions=OBLIQUE, origin_ras=(-123.4, 55.1, 812.3)):
    """Return an affine; oblique, anisotropic and far from the origin by default."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(directions) * spacing_mm
    matrix[:3, 3] = origin_ras
    return matrix


def numbered(shape, dtype=np.int16):
    """Return an array whose voxels all differ, as far as `dtype` can tell them apart."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write_with_itk(path, array, matrix=None, is_vector=None):
    """Write `array` : (k, j, i[, component]), or (j, i) for pictures, by ITK."""
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    if matrix is not None:
        grid = Grid(array.shape[:3], matrix)
        image.SetSpacing(grid.spacing_mm.tolist())
        image.SetDirection((LPS_FROM_RAS[:3, :3] @ grid.directions).ravel().tolist())
        image.SetOrigin((LPS_FROM_RAS[:3, :3] @ grid.ijk_to_ras[:3, 3]).tolist())
    sitk.WriteImage(image, str(path), True)
    return path


def write_nrrd(path, array, kinds, directions="(1,0,0) (0,1,0) (0,0,2)"):
    """Write a NRRD file by hand; `kinds` and `directions` in the order of the file, fastest axis first."""
    sizes = " ".join(str(n) for n in reversed(array.shape))
    header = (
        f"NRRD0004\ntype: {array.dtype.name}\ndimension: {array.ndim}\nspace: left-posterior-superior\n"
        f"sizes: {sizes}\nspace directions: {directions}\nkinds: {kinds}\nendian: little\nencoding: gzip\n"
        "space origin: (1,2,3)\n\n"
    )
    path.write_bytes(header.encode() + gzip.compress(array.tobytes()))
    return path


def write_dicom(folder, array, uid="1.2.3.4", start_lps=(10, 20, 30), step_lps=(0, 0, 2.5), first=1, **texts):
    """Write each slice of `array` : (k, j, i), int16, as a file of a CT series, by ITK."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for k, pixels in enumerate(array):
        image = sitk.GetImageFromArray(pixels)
        image.SetSpacing((0.7, 0.8))
        position = [a + k * b for a, b in zip(start_lps, step_lps, strict=True)]
        tags = {
            "0008|0060": "CT",
            "0008|103e": texts.get("description", "abdomen"),
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{first + k}",
            "0020|0013": str(first + k),
            "0020|0032": "\\".join(f"{value:g}" for value in position),
            "0020|0037": texts.get("orientation", "1\\0\\0\\0\\1\\0"),
            "0028|1052": texts.get("intercept", "0"),
            "0028|1053": "1",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        paths.append(folder / f"{uid}.{first + k:03}.dcm")
        writer.SetFileName(str(paths[-1]))
        writer.Execute(image)
    return paths


def cut(path, keep):
    """Cut a file: keep a share of it, or all but some bytes when `keep` is negative. Returns its path."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)] if keep > 0 else content[:keep])
    return path


def nifti_bytes(array, affine=None, big_endian=False, **fields):
    """Return a NIfTI-1 file with `array`, slowest axis first, made by hand from the standard's table.

    fields: values by the header's names: datatype, scl_slope, scl_inter, qform_code, sform_code, quatern (b, c, d),
    qoffset, pixdim, xyzt_units, magic.
    """
    order = ">" if big_endian else "<"
    header = bytearray(352)
    dim = [array.ndim, *reversed(array.shape), *[1] * (7 - array.ndim)]
    codes = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512}
    put = {
        "sizeof_hdr": (0, "i", [348]),
        "dim": (40, "8h", fields.get("dim", dim)),
        "datatype": (70, "h", [fields.get("datatype", codes.get(array.dtype.str[1:], 2))]),
        "bitpix": (72, "h", [8 * array.dtype.itemsize]),
        "pixdim": (76, "8f", fields.get("pixdim", [1.0] * 8)),
        "vox_offset": (108, "f", [352]),
        "scale": (112, "2f", [fields.get("scl_slope", 0), fields.get("scl_inter", 0)]),
        "xyzt_units": (123, "B", [fields.get("xyzt_units", 2)]),
        "codes": (252, "2h", [fields.get("qform_code", 0), fields.get("sform_code", 0 if affine is None else 1)]),
        "quatern": (256, "6f", [*fields.get("quatern", (0, 0, 0)), *fields.get("qoffset", (0, 0, 0))]),
        "srow": (280, "12f", np.zeros(12) if affine is None else affine[:3].ravel()),
        "magic": (344, "4s", [fields.get("magic", b"n+1\0")]),
    }
    for offset, form, values in put.values():
        struct.pack_into(order + form, header, offset, *values)
    return bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes()
