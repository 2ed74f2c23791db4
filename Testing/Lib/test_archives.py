"""Archives that want to be written elsewhere, or to fill the disk: refused, with nothing outside of the folder."""

import errno
import io
import os
import shutil
import stat
import struct
import subprocess
import sys
import zipfile

import pytest

from PromptSegLib import archives
from PromptSegLib.archives import ArchiveError, unpack
from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled


@pytest.fixture
def place(tmp_path):
    """A folder in a folder: what leads outside of the inner one is seen."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    return tmp_path / "outer" / "inner"


def archive_of(path, *entries, method=zipfile.ZIP_DEFLATED):
    """Write an archive of (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def entry_of(name, mode=stat.S_IFREG | 0o644):
    entry = zipfile.ZipInfo("placeholder")
    entry.filename, entry.create_system, entry.external_attr = name, 3, mode << 16
    return entry


def test_what_is_right_is_unpacked(tmp_path, place):
    folder = entry_of("case/Data/", stat.S_IFDIR | 0o755)
    long = "case/Data/my image%3a ä.nrrd"
    path = archive_of(tmp_path / "a.zip", (folder, b""), ("case/case.mrml", b"<MRML/>"), (long, b"1" * 3_000_000))
    assert unpack(path, place) == [place / "case/case.mrml", place / long]
    assert (place / long).read_bytes() == b"1" * 3_000_000


@pytest.mark.parametrize(
    "name",
    [
        *("../out", "a/../../out", "/out", "//out", "./a", "a//b", "a/./b", "..", "...", "a/.. /b"),
        *("C:/out", "c:out", "a:stream", "..\\out", "a\\..\\..\\out", "\\\\server\\out", "a\nb", "nul", "a/COM1.txt"),
        *("a.", "a /b", "x" * 300, "d/" * 600 + "x"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, place, name):
    path = archive_of(tmp_path / "a.zip", ("good", b"1"), (entry_of(name), b"evil"))
    with pytest.raises(ArchiveError, match="leads outside"):
        unpack(path, place)
    assert list(place.parent.iterdir()) == [place]
    assert list(place.iterdir()) == []


def test_a_name_that_ends_at_a_nul_for_some_is_refused(tmp_path, place):
    path = archive_of(tmp_path / "a.zip", ("good.nrrdX../../evil", b"1"))
    path.write_bytes(path.read_bytes().replace(b"nrrdX", b"nrrd\0"))
    with pytest.raises(ArchiveError, match="leads outside"):
        unpack(path, place)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_and_devices_are_refused(tmp_path, place, kind):
    link = entry_of("link", kind | 0o777)
    path = archive_of(tmp_path / "a.zip", (link, str(tmp_path).encode()), ("link/evil", b"1"))
    with pytest.raises(ArchiveError, match="a link or a device"):
        unpack(path, place)
    assert not (tmp_path / "evil").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("ä", "a\u0308"), ("a", "a/b"), ("a/b", "a"), ("A", "a/b")])
def test_two_entries_of_one_name_are_refused(tmp_path, place, names):
    path = archive_of(tmp_path / "a.zip", *((name, b"1") for name in names))
    with pytest.raises(ArchiveError, match=r"two of its entries|a file and a folder"):
        unpack(path, place)


def test_a_bomb_is_refused_by_its_sizes(tmp_path, place, monkeypatch):
    monkeypatch.setattr(archives, "SMALL_BYTES", 1 << 20)
    path = archive_of(tmp_path / "a.zip", ("zeros", bytes(8 << 20)))
    with pytest.raises(ArchiveError, match="claims to unpack to 8,388,608 bytes"):
        unpack(path, place)
    with pytest.raises(ArchiveError, match="at most 100 are expected"):
        unpack(archive_of(tmp_path / "b.zip", ("a", bytes(200))), place, most_bytes=100)
    assert list(place.iterdir()) == []


def test_entries_that_lie_upon_each_other_are_refused(tmp_path, place):
    path = archive_of(tmp_path / "a.zip", ("a", os.urandom(100_000)), ("b", b"1"), method=zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 20 : second + 28] = struct.pack("<II", 100_000, 100_000)
    raw[second + 42 : second + 46] = bytes(4)  # where the first entry begins
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="lie upon each other"):
        unpack(path, place)


def test_a_size_that_is_not_true_is_refused(tmp_path, place):
    path = archive_of(tmp_path / "a.zip", ("a", bytes(5000)))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", 5000), struct.pack("<I", 100)))
    with pytest.raises(ArchiveError):
        unpack(path, place)


def test_a_directory_of_gigabytes_is_not_read(tmp_path, place):
    path = archive_of(tmp_path / "a.zip", ("a", b"1"))
    raw = bytearray(path.read_bytes())
    with io.BytesIO() as padded:
        padded.write(bytes(20 << 20) + raw)
        content = padded.getvalue()
    end = content.rindex(b"PK\x05\x06")
    path.write_bytes(content[: end + 12] + struct.pack("<I", 15 << 20) + content[end + 16 :])
    with pytest.raises(ArchiveError, match="its directory claims 15,728,640 bytes"):
        unpack(path, place)


def test_more_entries_than_any_scene_has_are_refused(tmp_path, place, monkeypatch):
    monkeypatch.setattr(archives, "MOST_ENTRIES", 10)
    with pytest.raises(ArchiveError, match="claims 11 entries"):
        unpack(archive_of(tmp_path / "a.zip", *((f"{n}", b"") for n in range(11))), place)


def test_a_disk_that_is_too_small_is_told_before_it_is_filled(tmp_path, place, monkeypatch):
    usage = type(shutil.disk_usage(place))(10**9, 10**9 - 10**7, 10**7)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ArchiveError, match="has 10,000,000 left"):
        unpack(archive_of(tmp_path / "a.zip", ("a", b"1")), place)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not one", "empty", "encrypted", "bzip2"])
def test_a_damaged_archive_is_refused(tmp_path, place, damage):
    method = zipfile.ZIP_BZIP2 if damage == "bzip2" else zipfile.ZIP_DEFLATED
    path = archive_of(tmp_path / "a.zip", ("a", bytes(range(256)) * 40), method=method)
    raw = bytearray(path.read_bytes())
    raw[60] ^= damage == "flipped"
    raw[raw.rindex(b"PK\x01\x02") + 8] |= damage == "encrypted"
    path.write_bytes({"cut": raw[:150], "not one": b"no zip" * 99, "empty": b""}.get(damage, raw))
    with pytest.raises(ArchiveError):
        unpack(path, place)


def test_unpacking_can_be_cancelled(tmp_path, place):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        unpack(archive_of(tmp_path / "a.zip", ("a", b"1")), place, cancel=cancel)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root mounts")
def test_a_full_disk_is_an_oserror(tmp_path, place):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(place)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (place / "other").write_bytes(bytes(1 << 20))
        path = archive_of(tmp_path / "a.zip", ("a", os.urandom(30 << 20)), method=zipfile.ZIP_STORED)
        with pytest.raises((ArchiveError, OSError)) as refused:
            unpack(path, place)
        assert getattr(refused.value, "errno", errno.ENOSPC) == errno.ENOSPC
        assert sorted(file.name for file in place.iterdir()) == ["other"]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_nothing_but_the_standard_library_is_needed():
    code = "import sys; import PromptSegLib.archives; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
