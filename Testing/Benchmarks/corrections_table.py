"""Compare two runs of the benchmark's protocols of corrections: a table in Markdown, and a chart.

    python Testing/Benchmarks/corrections_table.py BEFORE.json AFTER.json [--chart CHART.png]

Each file is one that `promptseg benchmark … --protocols corrections --json FILE` wrote. Only starts that both have are
counted. Losing is a prompt that costs more than .01 of Dice; elsewhere are voxels outside of the error prompted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from PromptSegLib.evaluation.columns import Record
from PromptSegLib.evaluation.corrections import (
    PROTOCOLS,
    Correction,
    by_all,
    by_shape,
    by_start,
    corrections,
)
from PromptSegLib.evaluation.results import Results

HEAD = (
    "| | start | | 1st | 2nd | 3rd, with its gain | losing | worst | elsewhere |\n|---|---|---|---|---|---|---|---|---|"
)
BEFORE, AFTER = "before", "now"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs=2, type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    runs = dict(zip((BEFORE, AFTER), paired(*map(Results.read, options.files)), strict=True))
    sys.stdout.write(HEAD + "\n")
    for group_of in (by_all, by_shape, by_start):
        for line in lines(runs, group_of):
            sys.stdout.write(line + "\n")
    if options.chart is not None:
        draw(runs, options.chart)


def paired(*runs: Results) -> list[Results]:
    """Return of each run what all of them have."""

    def what(record: Record) -> tuple[object, ...]:
        return record["protocol"], record["dataset"], record["case"], record.get("start")

    common = set.intersection(*({what(record) for record in run.records} for run in runs))
    return [Results(run.settings, [record for record in run.records if what(record) in common]) for run in runs]


def groups(run: Results, group_of: Callable[[Record], str]) -> dict[str, list[Correction]]:
    """Return the turns of each group, of clicks alone."""
    found: dict[str, list[Correction]] = {}
    for one in corrections(run, group_of):
        if one.protocol == PROTOCOLS[0]:
            found.setdefault(one.group, []).append(one)
    return found


def lines(runs: dict[str, Results], group_of: Callable[[Record], str]) -> Iterator[str]:
    by_run = {name: groups(run, group_of) for name, run in runs.items()}
    for group in by_run[AFTER]:
        for name, found in by_run.items():
            turns = found[group]
            dice = " | ".join(f"{turn.dice:.3f}" for turn in turns)
            gain = turns[-1].gain
            losing = ", ".join(f"{100 * turn.losing:.0f}" for turn in turns)
            worst, far = min(turn.worst for turn in turns), sum(turn.far_voxels for turn in turns) / len(turns)
            title = f"{group} | {turns[0].start:.3f}" if name == BEFORE else " |"
            yield (
                f"| {title} | {name} | {dice} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] | {losing} % | "
                f"{worst:+.2f} | {far:.0f} |"
            )


def draw(runs: dict[str, Results], path: Path) -> None:
    """Draw the mean Dice by the number of clicks, a panel for each kind of shape."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    by_run = {name: groups(run, by_shape) for name, run in runs.items()}
    shapes = list(by_run[AFTER])
    columns = -(-len(shapes) // 2)
    figure, panels = pyplot.subplots(2, columns, figsize=(2.1 * columns, 4.4), sharex=True, sharey=True, squeeze=False)
    for panel, shape in zip(panels.flat, shapes, strict=False):
        for (name, found), colour in zip(by_run.items(), ("0.6", "tab:green"), strict=True):
            turns = found[shape]
            panel.plot(
                range(len(turns) + 1), [turns[0].start, *(one.dice for one in turns)], "o-", color=colour, label=name
            )
        panel.set_title(shape, fontsize=9)
        panel.set_xticks(range(4))
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(shapes) :]:
        panel.set_visible(False)
    panels.flat[0].legend(fontsize=8)
    figure.supxlabel("correcting clicks", fontsize=9)
    figure.supylabel("mean Dice", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
