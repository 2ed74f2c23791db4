"""Record anew how good the default model is on phantoms, and where its time goes: what CI compares with.

    python Testing/Benchmarks/record_regression.py

For a change that is meant to change either: a better default model, another stage. Takes a minute; prints what got
worse, and writes Testing/Data/regression.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from regression import RECORDED, complaints, measure, read_recorded  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        now = measure(Path(folder))
    if RECORDED.exists():
        print("\n".join(complaints(read_recorded(), now)) or "nothing got worse")
    RECORDED.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    print(RECORDED.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
