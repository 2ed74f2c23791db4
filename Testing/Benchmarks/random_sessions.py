"""Let random storms pass over sessions in a scene, and click after random moves and edits: nothing may be wrong.

    python Testing/Benchmarks/random_sessions.py [--seeds 10] [--actions 1000] [--clicks 1000]

A storm is what a user, other modules and a second session may do, see Testing/support/scene_storm.py. Prints a line for
each storm, and how many clicks were wrong; ends with status 1 when anything was.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from scene_storm import run_storm, wrong_of_a_click  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("seeds", 10), ("actions", 1000), ("clicks", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    failed = sum(not storm(seed, asked.actions) for seed in range(asked.seeds))
    logging.disable(logging.WARNING)
    wrong = Counter(filter(None, map(wrong_of_a_click, range(asked.clicks))))
    print(f"clicks after moves and edits: {sum(wrong.values())} wrong of {asked.clicks}", *wrong.items())
    return int(failed > 0 or bool(wrong))


def storm(seed: int, actions: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            passed = run_storm(seed, actions, Path(folder))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other storms are to pass, too
            traceback.print_exc(limit=-3)
            print(f"storm {seed}: {type(error).__name__}: {error}", flush=True)
            return False
    print(f"storm {seed}: {sum(passed.done.values())} actions, {passed.refused} refused, all held", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
