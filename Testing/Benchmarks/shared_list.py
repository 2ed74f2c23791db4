"""Two processes change one list 1,000 times each, and a writer is killed at any moment 50 times: is anything lost?

    python Testing/Benchmarks/shared_list.py [--changes 1000] [--kills 50] [--folder FOLDER]

FOLDER: where the list is made, such as on a shared folder; a temporary one by default. Exit status 1 when a change that
was reported as recorded is not in the list.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PromptSegLib.worklist.worklist import Worklist

CASES = 20
WRITER = """
import sys
from PromptSegLib.worklist.worklist import Worklist
worklist = Worklist.open(sys.argv[1], sys.argv[2])
for number in range(int(sys.argv[3])):
    case = worklist.cases[number % len(worklist.cases)]
    worklist.record(case, add_clicks=1, comment=f"{sys.argv[2]}, change {number}")
    print(number, flush=True)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        lost = at_once(new_list(Path(folder, "two.csv")), arguments.changes)
        lost += killed(new_list(Path(folder, "killed.csv")), arguments.kills)
    return 1 if lost else 0


def new_list(path: Path) -> Path:
    path.write_text("image\n" + "".join(f"{number}.nii.gz\n" for number in range(CASES)), encoding="utf-8")
    return path


def writer(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE)


def at_once(path: Path, changes: int) -> int:
    started = time.monotonic()
    running = [writer(path, name, changes) for name in ("Ann", "Bob")]
    said = sum(len(process.communicate()[0].splitlines()) for process in running)
    seconds = time.monotonic() - started
    worklist = Worklist.open(path)
    found = sum(case.clicks for case in worklist.cases)
    print(
        f"two writers: {said} changes reported, {found} in the list, {len(worklist.problems)} problems, {seconds:.1f} s"
    )
    return max(said - found, 0) + (said != 2 * changes)


def killed(path: Path, kills: int) -> int:
    """Kill a writer at a random moment, look at the list, add to it as somebody else, and so on."""
    chance, lost, reported, torn = random.Random(1), 0, 0, 0
    for number in range(kills):
        process = writer(path, "Ann", 1_000_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.random() / 5)
        process.kill()
        reported += 1 + len(process.communicate()[0].splitlines())
        before = Worklist.open(path, "Bob")
        found = sum(case.clicks for case in before.cases)
        lost += max(reported - found, 0)
        torn += bool(before.problems)
        before.record(before.cases[number % CASES], add_clicks=1, comment=f"Bob, after kill {number}")
        reported = found + 1  # a change that was written, and not reported any more, counts
    last = Worklist.open(path)
    found = sum(case.clicks for case in last.cases)
    print(f"{kills} kills: {found} changes in the list, {lost} lost, {torn} times a row was not finished")
    return lost + abs(reported - found) + abs(len(last.cases) - CASES)


if __name__ == "__main__":
    sys.exit(main())
