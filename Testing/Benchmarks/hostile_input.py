"""Print how hostile files fare: how many were tried, executed, took over 10 s or 1 GB, or raised a raw exception.

    python Testing/Benchmarks/hostile_input.py [images] [weights] [prompts] [archives]

Makes files that have harmed readers of images, weights, prompts and scenes - bombs, odd numbers, pickles that run
programs, names that lead elsewhere, and whole files changed at random - and reads each in a process of its own, which
may take 4 GB and five minutes. Takes some ten minutes and no more than 200 MB of disk. The exit status is 1 when any
figure but the first is not 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Lib")]

MOST_S, MOST_BYTES = 10.0, 10**9
CHILD_BYTES, CHILD_S = 4 << 30, 300


def images(folder: Path) -> Iterator[Path]:
    """Image files: those of the tests, and whole ones with bytes changed."""
    import test_hostile_images as made

    contents = {
        "bomb.nii.gz": made.gz_nifti(4),
        "scaled.nii.gz": made.gz_nifti(2, 2.0),
        "bomb.nrrd": made.NRRD + b"\n" + made.packed(9, 31) * 200,
        "bomb.mha": made.MHA + b"ElementDataFile = LOCAL\n" + made.packed(2048, 15),
        "bomb.png": made.png(25_000),
        "endless.dcm": made.dicom(made.SEQUENCE * 100_000),
        "deep.dcm": made.dicom(made.defined(70)),
        "element.dcm": made.dicom(made.element(9, 0x10, b"OB", b"x", 0x60000000)),
        "pixels.dcm": made.dicom(claimed=0x60000000),
        "rows.dcm": made.dicom(rows=60_000, columns=60_000, pixels=bytes(512)),
        "deflated.dcm": made.dicom(syntax=b"1.2.840.10008.1.2.1.99"),
    }
    voxels = np.random.default_rng(0).integers(0, 99, (6, 7, 8)).astype(np.int16)
    import SimpleITK as sitk

    for suffix in ("nii.gz", "nrrd", "mha"):
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / f"whole.{suffix}"), True)
        contents |= changed((folder / f"whole.{suffix}").read_bytes(), suffix, 6)
    contents |= changed(made.dicom(made.defined(3)), "dcm", 12)
    yield from written(folder, contents)


def weights(folder: Path) -> Iterator[Path]:
    """Weight files: pickles that run a program, that never end, bombs, and whole ones with bytes changed."""
    import torch
    from safetensors.torch import save_file

    marker = f"touch {folder / 'EXECUTED'}"
    pushed = b"X" + struct.pack("<I", len(marker)) + marker.encode()
    code = f"open({str(folder / 'EXECUTED')!r}, 'w')"
    evil = b"X" + struct.pack("<I", len(code)) + code.encode()
    pickles = {
        "system": b"cposix\nsystem\n" + pushed + b"\x85R",
        "system of os": b"cos\nsystem\n" + pushed + b"\x85R",
        "stack global": b"\x8c\x05posix\x8c\x06system\x93" + pushed + b"\x85R",
        "eval": b"cbuiltins\neval\n" + evil + b"\x85R",
        "exec": b"cbuiltins\nexec\n" + evil + b"\x85R",
        "instance": b"(" + pushed + b"iposix\nsystem\n",
        "object": b"(cposix\nsystem\n" + pushed + b"o",
        "new": b"cposix\nsystem\n" + pushed + b"\x85\x81",
        "popen": b"csubprocess\nPopen\n(" + pushed + b"l\x85R",
        "getattr": b"cbuiltins\ngetattr\n(cposix\n__dict__\nX\x06\0\0\0systemtR",
        "build": b"ccollections\nOrderedDict\n)R}X\x08\0\0\0__call__cposix\nsystem\nsb",
        "opcodes": b"}0" * 8_000_000,
        "marks": b"(" * 16_000_000,
        "lists": b"](" + b"N" * 300_000 + b"e\x85q\x010ctorch\nSize\nq\x00" + b"h\x00h\x01R" * 300_000,
        "number": b"\x8b" + struct.pack("<i", 12 << 20) + b"\x01" * (12 << 20) + b"q\x00" + b"}" + b"h\x00Ns" * 300_000,
        "text": b"X" + struct.pack("<I", 0x7FFFFFFF) + b"a",
    }
    contents = {}
    for name, pickle in pickles.items():
        with zipfile.ZipFile(folder / "made", "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("f/data.pkl", b"\x80\x02" + pickle + b".")
        contents[f"{name}.pth"] = (folder / "made").read_bytes()
    entries = {f"{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(1_000_000)}
    header = json.dumps(entries).encode()
    contents["header.safetensors"] = len(header).to_bytes(8, "little") + header
    noise = np.random.default_rng(0).bytes(1 << 20)
    array = np.frombuffer(b"".join(noise[n : n + 100] + bytes(4900) for n in range(0, 1 << 20, 100)) * 24, np.uint8)
    np.savez_compressed(folder / "made.npz", a=array)
    contents["bomb.npz"] = (folder / "made.npz").read_bytes()
    tensors = {"w": torch.arange(600.0).reshape(20, 30), "b": torch.ones(3)}
    torch.save(tensors, folder / "whole.pth")
    torch.save(tensors, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, folder / "whole.safetensors")
    np.savez(folder / "whole.npz", w=np.arange(600.0))
    for name in ("whole.pth", "old.pth", "whole.safetensors", "whole.npz"):
        contents |= changed((folder / name).read_bytes(), name, 12)
    yield from written(folder, contents)


def prompts(folder: Path) -> Iterator[Path]:
    """Prompts files: numbers without end, strokes far outside, masks that unpack to all memory, long drawings."""
    import base64

    zeros = zlib.compressobj(9)
    bits = b"".join(zeros.compress(bytes(1 << 20)) for _ in range(700)) + zeros.flush()
    most = base64.b64encode(zlib.compress(b"\xff" * (1 << 25))).decode()
    mask = {"kind": "mask", "ijk_to_ras": np.eye(4).tolist(), "bits_zlib_base64": base64.b64encode(bits).decode()}
    to_and_fro = [[n % 2 * 200.0, n % 3 * 200.0, 5.0] for n in range(9000)]
    records = {
        "mask": mask | {"shape_kji": [1, 1, 700 << 23]},
        "mask of the most": mask | {"shape_kji": [1, 1, 1 << 28], "bits_zlib_base64": most},
        "stroke": {"kind": "scribble", "points_ras": [[5, 5, 5], [1e8, 5, 5]], "width_mm": 1.0},
        "to and fro": {"kind": "scribble", "points_ras": to_and_fro, "width_mm": 0.0},
        "wide": {"kind": "scribble", "points_ras": to_and_fro, "width_mm": 300.0},
        "lasso": {"kind": "lasso", "points_ras": [[n / 50, n % 2 * 200.0, 5.0] for n in range(9000)]},
        "voxels": {"kind": "voxel-scribble", "points_ras": [[float(n % 90), 5.0, 5.0] for n in range(100_000)]},
        "box": {"kind": "box", "center_ras": [0, 0, 0], "size_mm": [1e9, 1e9, 1e9]},
    }
    head = '{"format": "promptseg-prompts", "version": 1, "frame": "RAS", "unit": "mm", "targets": [{"name": "a", '
    contents = {name: head + f'"prompts": [{json.dumps(record)}]}}]}}' for name, record in records.items()}
    for number in ("1" + "0" * 400, "1e400", "1e300", "NaN", "1" + "0" * 9000):
        point = f'{{"kind": "point", "position_ras": [{number}, 0, 0]}}'
        contents[f"number {number[:5]} {len(number)}"] = head + f'"prompts": [{point}]}}]}}'
    contents |= {"brackets": "[" * 1_000_000, "empties": "[" + "[]," * 5_000_000 + "0]"}
    yield from written(folder, {f"{name}.json": text.encode() for name, text in contents.items()})


def archives(folder: Path) -> Iterator[Path]:
    """Archives whose names or links lead elsewhere, and bombs."""
    names = ["../EXECUTED", "a/../../EXECUTED", str(folder / "EXECUTED"), "..\\EXECUTED", "C:\\EXECUTED", "a\0/../x"]
    for number, name in enumerate(names):
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name
        with zipfile.ZipFile(folder / f"name {number}.mrb", "w") as archive:
            archive.writestr(entry, b"evil")
            archive.writestr("scene/scene.mrml", b"<MRML/>")
        yield folder / f"name {number}.mrb"
    link = zipfile.ZipInfo("out")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(folder / "link.mrb", "w") as archive:
        archive.writestr(link, str(folder))
        archive.writestr("out/EXECUTED", b"evil")
    yield folder / "link.mrb"
    with zipfile.ZipFile(folder / "bomb.mrb", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(12):
            archive.writestr(f"{number}.raw", bytes(100 << 20))
    yield folder / "bomb.mrb"
    with zipfile.ZipFile(folder / "many.mrb", "w") as archive:
        for number in range(150_000):
            archive.writestr(f"{number}", b"")
    yield folder / "many.mrb"


def changed(whole: bytes, name: str, count: int) -> dict[str, bytes]:
    """Return copies of a file with a few bytes changed, near its beginning."""
    draw, found = random.Random(name), {}
    for number in range(count):
        raw = bytearray(whole)
        for _ in range(3):
            raw[draw.randrange(min(len(raw), 1200))] = draw.randrange(256)
        found[f"changed-{number}.{name}"] = bytes(raw)
    return found


def written(folder: Path, contents: dict[str, bytes]) -> Iterator[Path]:
    for name, content in contents.items():
        path = folder / name
        path.write_bytes(content)
        yield path
        path.unlink()


def read(kind: str, path: Path) -> None:
    """Read a file as the product does: called in a process of its own."""
    if kind == "images":
        from PromptSegLib.io import read_volume

        read_volume(path)
    elif kind == "weights":
        from PromptSegLib.weights.readers import read_state_dict

        read_state_dict(path)
    elif kind == "prompts":
        import PromptSegLib as psl

        session = psl.Session(psl.Volume(np.zeros((60, 90, 90), np.int16)), "classical")
        for each in psl.read_prompts(path).values():
            for prompt in each:
                session.add(prompt)
    else:
        from PromptSegLib.archives import ArchiveError, unpack
        from PromptSegLib.errors import SceneFileError

        with tempfile.TemporaryDirectory(dir=path.parent) as inside:
            try:
                unpack(path, Path(inside))
            except ArchiveError as error:
                raise SceneFileError(str(error)) from error


def child(kind: str, path: Path) -> None:
    """Read one file and print what became of it."""
    from PromptSegLib.errors import PromptSegError

    resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES, CHILD_BYTES))
    if kind == "weights":
        import torch  # noqa: F401 - its own memory and time are not the file's
    # The process's own time: on a machine that others use, too, the clock says little of the file.
    begun, outcome = time.process_time(), "read"
    try:
        read(kind, path)
    except PromptSegError as error:
        outcome = f"refused: {' '.join(str(error).split())[-120:]}"
    except BaseException as error:  # noqa: BLE001 - what is looked for
        outcome = f"RAW {type(error).__name__}: {str(error)[:120]}"
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent once had
    used = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    print(json.dumps({"s": time.process_time() - begun, "bytes": used, "outcome": outcome}))


def tried(kind: str, path: Path) -> dict[str, object]:
    command = [sys.executable, __file__, "--child", kind, str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_S, env=environment)
    except subprocess.TimeoutExpired:
        return {"s": CHILD_S, "bytes": 0, "outcome": "RAW it did not end"}
    lines = ran.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else {"s": 0, "bytes": 0, "outcome": f"RAW it died: {ran.returncode}"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("kinds", nargs="*", default=["images", "weights", "prompts", "archives"])
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], Path(arguments.child[1]))
        return 0
    figures = dict.fromkeys(("tried", "executed", "over 10 s", "over 1 GB", "raw exceptions"), 0)
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory() as place:
            inner = Path(place) / "inner"
            inner.mkdir()
            for path in globals()[kind](inner):
                result = tried(kind, path)
                ran = list(Path(place).rglob("EXECUTED"))
                for each in ran:
                    each.unlink()
                figures["tried"] += 1
                figures["executed"] += bool(ran)
                figures["over 10 s"] += result["s"] > MOST_S
                figures["over 1 GB"] += result["bytes"] > MOST_BYTES
                figures["raw exceptions"] += str(result["outcome"]).startswith("RAW")
                print(
                    f"{kind:9}{path.name:28}{result['s']:6.1f} s {result['bytes'] / 1e9:5.2f} GB  {result['outcome']}",
                    flush=True,
                )
    print("; ".join(f"{name}: {count}" for name, count in figures.items()))
    return int(any(count for name, count in figures.items() if name != "tried"))


if __name__ == "__main__":
    sys.exit(main())
