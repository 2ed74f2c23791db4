"""One file for several people: rows are added, never changed; spreadsheets and killed writers in between."""

import csv
import errno
import io
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from PromptSegLib.worklist import lock
from PromptSegLib.worklist.case import CaseState
from PromptSegLib.worklist.errors import CaseTakenError, WorklistError
from PromptSegLib.worklist.worklist import Worklist

PLAIN = "image,segmentation,site\na.nii.gz,out/a.seg.nrrd,Bern\nb.nii.gz,out/b.seg.nrrd,Oslo\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text(PLAIN, encoding="utf-8")
    return path


def states(path):
    return [case.state for case in Worklist.open(path).cases]


def test_what_was_there_stays_as_it_was_and_rows_are_added(path):
    worklist = Worklist.open(path, "Ann")
    first, second = worklist.cases
    worklist.claim(first)
    worklist.record(second, state=CaseState.REJECTED, comment="moved, blurred", add_seconds=7.6, add_clicks=2)
    worklist.record(second, add_seconds=2, add_clicks=1)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(PLAIN)
    assert len(text.splitlines()) == 3 + 1 + 3  # a second line of heads, then a row each
    a, b = Worklist.open(path).cases
    assert (a.state, a.reader, a.extra["site"]) == (CaseState.IN_WORK, "Ann", "Bern")
    assert (b.state, b.comment, b.seconds, b.clicks) == (CaseState.REJECTED, "moved, blurred", 10, 3)


def test_people_see_what_others_recorded_and_no_case_is_begun_twice(path):
    ann, bob = Worklist.open(path, "Ann"), Worklist.open(path, "Bob")
    ann.claim(ann.cases[0])
    with pytest.raises(CaseTakenError, match="got it in work by Ann: make a second reading"):
        bob.claim(bob.cases[0])
    assert bob.refresh()
    assert bob.cases[0].reader == "Ann"
    second = bob.add_reading(bob.cases[0])
    assert (second.segmentation.name, second.reader, second.state) == ("a.Bob.seg.nrrd", "Bob", CaseState.TODO)
    assert bob.add_reading(bob.cases[0]) == second
    assert [case.reader for case in ann.readings(ann.cases[0])] == ["Ann"]
    ann.refresh()
    assert [case.reader for case in ann.readings(ann.cases[0])] == ["Ann", "Bob"]
    ann.claim(ann.cases[0])  # one's own again
    assert ann.record(ann.cases[0], state=CaseState.ACCEPTED).reader == "Ann"


def test_a_record_may_want_a_state_and_nothing_is_recorded_when_what_comes_before_fails(path):
    worklist = Worklist.open(path)
    size = path.stat().st_size
    with pytest.raises(ZeroDivisionError):
        worklist.record(worklist.cases[0], before=lambda: 1 / 0, state=CaseState.PROPOSED)
    assert path.stat().st_size == size
    worklist.record(worklist.cases[0], state=CaseState.ACCEPTED)
    with pytest.raises(CaseTakenError, match="expected a to do, got it accepted"):
        worklist.record(worklist.cases[0], only_from={CaseState.TODO}, state=CaseState.PROPOSED)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_list_is_read_back_as_spreadsheets_save_it_and_goes_on_in_their_way(path, delimiter, encoding, line_end):
    worklist = Worklist.open(path, "Jürgen")
    worklist.record(
        worklist.cases[1], reader="Jürgen", comment='= "Größe"; ab, zu', unsure=0.25, state=CaseState.PROPOSED
    )
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    width = max(map(len, rows))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
    writer.writerows([*row, *[""] * (width - len(row))] for row in rows)  # a spreadsheet fills up short rows
    content = text.getvalue().replace("0.2500", "0,25" if delimiter != "," else "0.25").encode(encoding)
    path.write_bytes(content)
    again = Worklist.open(path, "Jürgen")
    case = again.cases[1]
    assert again.problems == ()
    assert (case.comment, case.reader, case.unsure) == ('= "Größe"; ab, zu', "Jürgen", 0.25)
    again.record(case, comment="später")
    assert path.read_bytes().startswith(content)
    added = path.read_bytes()[len(content) :]
    assert added.endswith(line_end.encode())
    assert added.count(delimiter.encode()) >= 12
    assert Worklist.open(path).cases[1].comment == "später"
    assert "spä" in path.read_text(encoding="cp1252" if encoding == "cp1252" else "utf-8")


def test_the_newest_row_holds_in_whatever_order_a_spreadsheet_sorts_them(path):
    worklist = Worklist.open(path)
    for state in ("in work", "rejected", "accepted"):
        worklist.record(worklist.cases[0], state=CaseState(state))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], *reversed(lines[4:])]) + "\n")
    assert states(path)[0] == CaseState.ACCEPTED
    again = Worklist.open(path)
    again.record(again.cases[0], state=CaseState.REJECTED)
    assert states(path)[0] == CaseState.REJECTED


@pytest.mark.parametrize("key", [None, lambda row: row.split(";")[-1]], ids=["by image", "by change"])
@pytest.mark.parametrize("descending", [False, True])
def test_what_was_recorded_holds_when_a_spreadsheet_sorts_all_rows_and_the_second_heads_with_them(
    path, key, descending
):
    path.write_text("image;site;state\na.nii;Bern;to do\nb.nii;Basel;\nz.nii;Chur;rejected\n", encoding="utf-8")
    worklist = Worklist.open(path, "Ann")
    worklist.record(worklist.cases[0], state=CaseState.ACCEPTED, comment="good")
    worklist.record(worklist.cases[2], state=CaseState.ACCEPTED)
    width = path.read_text().splitlines()[-1].count(";")
    first, *rows = [row + ";" * (width - row.count(";")) for row in path.read_text().splitlines()]
    path.write_text("\n".join([first, *sorted(rows, key=key, reverse=descending)]) + "\n", encoding="utf-8")
    again = Worklist.open(path, "Ann")
    assert again.problems == ()
    assert {case.name: case.state for case in again.cases} == {"a": "accepted", "b": "to do", "z": "accepted"}
    again.record(next(case for case in again.cases if case.name == "b"), state=CaseState.REJECTED)
    found = {case.name: (case.state, case.comment, case.extra["site"]) for case in Worklist.open(path).cases}
    assert found == {"a": ("accepted", "good", "Bern"), "b": ("rejected", "", "Basel"), "z": ("accepted", "", "Chur")}


def test_a_comment_longer_than_any_list_holds_is_cut_and_its_row_is_read(path):
    worklist = Worklist.open(path)
    assert len(worklist.record(worklist.cases[0], state=CaseState.REJECTED, comment="x" * 200_000).comment) == 30_000
    assert states(path)[0] == CaseState.REJECTED


def test_a_list_that_was_cut_anywhere_in_its_last_row_is_read_and_goes_on(path):
    worklist = Worklist.open(path, "Ann")
    worklist.record(worklist.cases[0], state=CaseState.ACCEPTED)
    before = path.read_bytes()
    worklist.record(worklist.cases[1], state=CaseState.REJECTED, comment='"Größe", zu', reader="Ann")
    whole = path.read_bytes()
    for length in range(len(before), len(whole), 2):
        path.write_bytes(whole[:length])
        cut = Worklist.open(path, "Bob")
        assert [case.state for case in cut.cases] == [CaseState.ACCEPTED, CaseState.TODO]
        assert len(cut.problems) == (length > len(before))
        cut.record(cut.cases[1], state=CaseState.IN_WORK, reader="Bob", comment="after")
        assert path.read_bytes().startswith(whole[:length])
        for case in (cut.cases[1], Worklist.open(path).cases[1]):
            assert (case.state, case.reader, case.comment) == (CaseState.IN_WORK, "Bob", "after")
        assert len(Worklist.open(path).cases) == 2


def test_heads_that_were_cut_are_written_again(path):
    plain = path.read_bytes()
    worklist = Worklist.open(path)
    worklist.record(worklist.cases[0], state=CaseState.ACCEPTED)
    whole = path.read_bytes()
    row = whole.index(b"\n", len(plain)) + 1
    for length in range(len(plain), row, 5):
        path.write_bytes(whole[:length])
        cut = Worklist.open(path)
        assert [case.state for case in cut.cases][:2] == [CaseState.TODO] * 2
        cut.record(cut.cases[0], state=CaseState.REJECTED)
        assert states(path)[:2] == [CaseState.REJECTED, CaseState.TODO]


def test_a_row_by_hand_without_a_line_end_counts_and_the_next_begins_below_it(path):
    path.write_text(PLAIN.rstrip("\n"))
    worklist = Worklist.open(path)
    assert [case.name for case in worklist.cases] == ["a", "b"]
    worklist.record(worklist.cases[1], state=CaseState.ACCEPTED)
    assert states(path) == [CaseState.TODO, CaseState.ACCEPTED]


WRITER = """
import sys
from PromptSegLib.worklist.worklist import Worklist
worklist = Worklist.open(sys.argv[1], sys.argv[2])
for number in range(int(sys.argv[3])):
    case = worklist.cases[number % len(worklist.cases)]
    worklist.record(case, add_clicks=1, comment=f"{sys.argv[2]} {number}")
    print(number, flush=True)
"""


def writer(path, name, count):
    return subprocess.Popen([sys.executable, "-c", WRITER, path, name, str(count)], stdout=subprocess.PIPE)


def test_two_processes_that_write_at_once_lose_nothing(path):
    count = 60
    running = [writer(path, name, count) for name in ("Ann", "Bob")]
    assert all(len(process.communicate(timeout=60)[0].splitlines()) == count for process in running)
    worklist = Worklist.open(path)
    assert sum(case.clicks for case in worklist.cases) == 2 * count
    assert len(path.read_text().splitlines()) == 3 + 1 + 2 * count
    assert worklist.problems == ()


def test_a_killed_writer_leaves_a_whole_list_that_others_go_on_with(path):
    said = 0
    for _ in range(3):
        process = writer(path, "Ann", 1000)
        for _ in range(4):
            process.stdout.readline()
        process.kill()
        said += 4 + process.communicate()[0].count(b"\n")
        started = time.monotonic()
        worklist = Worklist.open(path, "Bob")
        assert sum(case.clicks for case in worklist.cases) >= said
        said = sum(case.clicks for case in worklist.cases)
        worklist.record(worklist.cases[0], reader="Bob")
        assert time.monotonic() - started < lock.STALE_S / 2  # the lock of the dead is not waited for
    assert Worklist.open(path).cases[0].reader == "Bob"


def test_a_disk_that_is_full_is_told_and_leaves_no_lock(path, monkeypatch):
    def full(number, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    worklist, before = Worklist.open(path), path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(WorklistError, match="No space left"):
            worklist.record(worklist.cases[0], state=CaseState.ACCEPTED)
    assert (list(path.parent.iterdir()), path.read_bytes()) == ([path], before)


def test_a_lock_that_somebody_reads_just_now_is_removed_all_the_same(path, monkeypatch):
    refusals, unlink = iter(range(3)), Path.unlink

    def refused(self, **how):  # as Windows does
        if next(refusals, None) is not None:
            raise PermissionError(errno.EACCES, "in use")
        unlink(self, **how)

    monkeypatch.setattr(Path, "unlink", refused)
    worklist = Worklist.open(path)
    worklist.record(worklist.cases[0], state=CaseState.ACCEPTED)
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_of_another_computer_is_waited_for_and_named(path, monkeypatch):
    worklist = Worklist.open(path)
    marker = path.with_name(".cases.csv.lock")
    marker.write_text("elsewhere 123 token")
    monkeypatch.setattr(lock, "STALE_S", 0.2)
    worklist.record(worklist.cases[0], comment="after a while")
    assert not marker.exists()
    marker.write_text(f"{platform.node()} {os.getpid()} token")
    locked = rf"within 0.1 s, got it locked by {platform.node()} {os.getpid()}"
    with pytest.raises(WorklistError, match=locked), lock.lock_beside(path, patience_s=0.1):
        pass
    assert marker.exists()


@pytest.mark.parametrize(
    ("rows", "problem", "count"),
    [
        ("a.nii,,done\n", "line 2: expected a state out of to do, .*, got 'done': counts as in work", 1),
        ("a.nii,,to do\na.nii,,accepted\n", "line 3: a is in line 2, too: the later row counts", 1),
        (",,accepted\nb.nii,,\n", "line 2: expected an image, got none: left out", 1),
        ("a.nii,,,ten\n", "line 2: expected a number from 0 on as seconds, got 'ten': left out", 1),
        ("a.nii,,,,more,and more\n", "line 2: expected 5 cells, got 6: the first ones count", 1),
        ('a.nii,"x\nb.nii,,\n', "line 2: expected a quote at the end of a cell, got none: left out", 1),
    ],
)
def test_what_is_wrong_with_a_row_is_told_in_a_line_and_the_others_count(tmp_path, rows, problem, count):
    path = tmp_path / "list.csv"
    path.write_text(f"image,segmentation,state,seconds,site\n{rows}", encoding="utf-8")
    worklist = Worklist.open(path)
    (found,) = worklist.problems
    assert pytest.raises(ValueError, match=problem).matches(ValueError(found))
    assert len(worklist.cases) == count


def test_a_list_with_quotes_that_do_not_end_is_not_added_to(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('image,comment\na.nii,"x\nb.nii,\n', encoding="utf-8")
    before = path.read_bytes()
    worklist = Worklist.open(path)
    with pytest.raises(WorklistError, match="got none in line 2: mend it first"):
        worklist.record(worklist.cases[0], state=CaseState.ACCEPTED)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,site\na,b\n", "got the columns path, site"),
        (b"", "expected a column 'image'"),
        ("image\na".encode("utf-16"), "got UTF-16: save it as CSV UTF-8"),
        (b"\0\0\0", "expected a column 'image'"),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path, content, message):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(WorklistError, match=message):
        Worklist.open(path)


def test_images_of_one_name_in_several_folders_have_segmentations_of_their_own(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("image\nx/ct.nii.gz\ny/ct.nii.gz\n", encoding="utf-8")
    first, second = Worklist.open(path).cases
    assert [first.name, second.name] == ["ct", "y-ct"]
    assert first.segmentation != second.segmentation


def test_a_folder_gets_a_list_with_the_first_thing_that_is_recorded(tmp_path):
    for name in ("a.nrrd", "b.nrrd"):
        (tmp_path / name).write_bytes(b"")
    worklist = Worklist.open(tmp_path)
    assert not worklist.path.exists()
    worklist.record(worklist.cases[1], state=CaseState.REJECTED)
    (tmp_path / "c.nrrd").write_bytes(b"")
    for source in (tmp_path, worklist.path):
        assert {case.name: case.state.value for case in Worklist.open(source).cases} == {
            "a": "to do",
            "b": "rejected",
            "c": "to do",
        }
