"""Figures of a benchmark: Dice by the number of clicks, time by stage, and single cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.evaluation.cases import LoadedCase
from PromptSegLib.evaluation.columns import Column, Record, dice_after
from PromptSegLib.evaluation.corrections import PROTOCOLS as CORRECTIONS
from PromptSegLib.evaluation.corrections import by_shape, corrections
from PromptSegLib.evaluation.latency import Latency
from PromptSegLib.evaluation.results import Results, by_dimensions, table
from PromptSegLib.evaluation.statistics import Mean
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.planes import pixel_axes_ras
from PromptSegLib.imaging.windowing import as_rgb
from PromptSegLib.view import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which most people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
TRUTH_COLOUR, RESULT_COLOUR = "#56B4E9", "#FFB000"
_POSITIVE, _NEGATIVE = "#7CFC00", "#FF4040"
_INCH_HEIGHT = 3.1


def dice_figure(results: Results) -> Figure:
    """Return the mean Dice by the number of clicks, and after other prompts, with intervals; a row for 2D and 3D."""
    clicks = int(results.settings["clicks"])
    curve = [_after(turn) for turn in range(1, clicks + 1)]
    others = [
        Column("box", "box", lambda record: dice_after(record, 1)),
        Column("scribble", "scribbles", lambda record: dice_after(record, 1)),
        Column("human\nscribbles", "human", lambda record: dice_after(record, 1)),
    ]
    rows = table(results, [*curve, *others], by_dimensions)
    groups = sorted({row.group for row in rows})
    figure = _figure(9.0, _INCH_HEIGHT * max(1, len(groups)))
    grid = figure.subplots(max(1, len(groups)), 2, squeeze=False, width_ratios=(3, 1.1), sharey=True)
    colours = colours_of(results.models())
    for (left, right), group in zip(grid, groups, strict=False):
        for row in (row for row in rows if row.group == group):
            means = row.means[:clicks]
            _band(left, [mean for mean in means if mean is not None], row.model, colours[row.model])
        _dots(right, others, [row for row in rows if row.group == group], clicks, colours)
        count = max((mean.count for row in rows if row.group == group for mean in row.means if mean), default=0)
        left.set_title(f"{group}: {count} structures", loc="left", fontsize=10)
        left.set_xticks(range(1, clicks + 1))
        left.set_xlabel("clicks")
        left.set_ylabel("mean Dice")
        left.set_ylim(0, 1)
        for axes in (left, right):
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
    handles = [_patch(colour, model) for model, colour in colours.items()]
    grid[0][0].legend(handles=handles, frameon=False, fontsize=9, loc="lower right")
    return figure


def latency_figure(latencies: Sequence[Latency]) -> Figure:
    """Return bars of the median time of each stage of a click, and where 95 % of all clicks have ended."""
    groups = sorted({latency.group for latency in latencies})
    figure = _figure(9.0, 0.9 + 0.42 * len(latencies) + 0.5 * len(groups))
    heights = [max(1, sum(latency.group == group for latency in latencies)) for group in groups]
    grid = figure.subplots(max(1, len(groups)), 1, squeeze=False, height_ratios=heights or [1])
    stages = list(dict.fromkeys(stage for latency in latencies for stage in latency.stages_ms))
    shades = dict(zip(stages, _shades(len(stages)), strict=True))
    for (axes,), group in zip(grid, groups, strict=False):
        ours = [latency for latency in latencies if latency.group == group][::-1]
        for place, latency in enumerate(ours):
            left = 0.0
            for stage, ms in latency.stages_ms.items():
                axes.barh(place, ms, left=left, color=shades[stage], height=0.6)
                left += ms
            axes.plot([latency.percentile_95_ms], [place], marker="|", markersize=14, color="black")
        axes.set_yticks(range(len(ours)), [latency.model for latency in ours])
        axes.set_title(group, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("ms a click: medians by stage; | 95th percentile of all of it")
    handles = [_patch(shades[stage], stage) for stage in stages]
    if handles:
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def corrections_figure(results: Results) -> Figure:
    """Return the mean Dice of masks that came from elsewhere before and after each click, by the kind of shape."""
    found = [one for one in corrections(results, by_shape) if one.protocol == CORRECTIONS[0]]
    groups = sorted({one.group for one in found})
    figure = _figure(9.0, _INCH_HEIGHT * max(1, -(-len(groups) // 4)) * 0.8)
    grid = figure.subplots(max(1, -(-len(groups) // 4)), 4, squeeze=False, sharey=True)
    colours = colours_of(results.models())
    for axes, group in zip(grid.ravel(), [*groups, *[""] * (grid.size - len(groups))], strict=True):
        axes.set_visible(bool(group))
        for model, colour in colours.items():
            ours = [one for one in found if (one.group, one.model) == (group, model)]
            if ours:
                curve = [ours[0].start, *(one.dice for one in ours)]
                axes.plot(range(len(curve)), curve, marker="o", markersize=3.5, color=colour, label=model)
        axes.set_title(group, loc="left", fontsize=10)
        axes.set_xticks(range(4))
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0][0].set_ylabel("mean Dice")
    handles = [_patch(colour, model) for model, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def case_figure(case: LoadedCase, record: Record, mask_ji: BoolArray, k: int) -> Figure:
    """Return the slice `k` around the structure, with the truth, the result `mask_ji` and the prompts of `record`."""
    truth = case.truth_kji[k]
    rows, columns = _around(truth | mask_ji)
    plane = case.volume.array[k, rows, columns]
    spacing = case.volume.grid.spacing_kji_mm
    figure = _figure(2.6, 2.6)
    axes = figure.subplots()
    axes.imshow(
        as_rgb(plane.astype(np.float32), case.case.window or _middle_range(case.volume.array[k])),
        extent=(columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5),
        aspect=float(spacing[1] / spacing[2]),
        interpolation="nearest",
    )
    for outlined, colour in ((truth, TRUTH_COLOUR), (mask_ji, RESULT_COLOUR)):
        if outlined.any():
            # A margin of nothing: what ends with the image has an outline there, too.
            ends = [np.arange(-1, n + 1) for n in outlined.shape]
            axes.contour(
                ends[1], ends[0], np.pad(outlined, 1).astype(float), levels=[0.5], colors=colour, linewidths=1.3
            )
    number = 0
    for step in record["steps"]:
        for prompt in step["prompts"]:
            number += 1
            _mark(axes, case, prompt, k, number)
    axes.set_xlim(columns.start - 0.5, columns.stop - 0.5)
    axes.set_ylim(rows.stop - 0.5, rows.start - 0.5)
    _as_radiology_looks_at_it(axes, case)
    axes.set_axis_off()
    return figure


def colours_of(models: Sequence[str]) -> dict[str, str]:
    """Return a colour for each model."""
    return {model: _COLOURS[number % len(_COLOURS)] for number, model in enumerate(models)}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _after(turn: int) -> Column:
    return Column(str(turn), "clicks", lambda record: dice_after(record, turn))


def _band(axes: Axes, means: Sequence[Mean], label: str, colour: str) -> None:
    if means:
        clicks = range(1, len(means) + 1)
        axes.plot(clicks, [mean.value for mean in means], marker="o", markersize=3.5, color=colour, label=label)
        axes.fill_between(
            clicks, [mean.low for mean in means], [mean.high for mean in means], color=colour, alpha=0.13, linewidth=0
        )


def _dots(axes: Axes, columns: Sequence[Column], rows: Sequence[Any], first: int, colours: dict[str, str]) -> None:
    used = [n for n in range(len(columns)) if any(row.means[first + n] is not None for row in rows)]
    for shift, row in zip(np.linspace(-0.25, 0.25, max(2, len(rows))), rows, strict=False):
        for place, n in enumerate(used):
            mean = row.means[first + n]
            if mean is not None:
                spread = [[mean.value - mean.low], [mean.high - mean.value]]
                axes.errorbar(place + shift, mean.value, spread, marker="o", markersize=4, color=colours[row.model])
    axes.set_xticks(range(len(used)), [columns[n].title for n in used], fontsize=9)
    axes.set_xlim(-0.6, max(len(used), 1) - 0.4)


def _around(shown: BoolArray) -> tuple[slice, slice]:
    """Return rows and columns around what is set: twice as long as it in either direction."""
    extent = Extent.of_mask(shown[None]) or Extent.of_shape((1, *shown.shape))
    length = max(extent.shape_kji[1:])
    _, rows, columns = (
        extent.padded((0, length // 2 + 4, length // 2 + 4)).intersection(Extent.of_shape((1, *shown.shape))).slices
    )
    return rows, columns


def _middle_range(values: np.ndarray) -> Window:
    low, high = np.percentile(values[np.isfinite(values)], (1, 99))
    return Window(float(low), float(high if high > low else low + (abs(low) or 1)))


def _mark(axes: Axes, case: LoadedCase, prompt: dict[str, Any], k: int, number: int) -> None:
    """Draw a click, hollow where it is on another slice, or a box's outline."""
    grid = case.volume.grid
    colour = _POSITIVE if prompt.get("positive", True) else _NEGATIVE
    if prompt["kind"] == "point":
        i, j, at = grid.to_ijk(prompt["position_ras"]).tolist()
        is_here = round(at) == k
        axes.plot([i], [j], "o", markersize=6, color=colour if is_here else "none", markeredgecolor=colour)
        axes.annotate(str(number), (i, j), xytext=(4, 4), textcoords="offset points", fontsize=6, color=colour)
    elif prompt["kind"] == "box":
        half = np.array(prompt["size_mm"]) / 2 @ np.array(prompt["axes"])
        ends = grid.to_ijk(np.array([prompt["center_ras"] - half, prompt["center_ras"] + half]))
        (left, top, _), (right, bottom, _) = ends.min(axis=0), ends.max(axis=0)
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], "--", color=colour, linewidth=1)


def _as_radiology_looks_at_it(axes: Axes, case: LoadedCase) -> None:
    directions = case.volume.grid.directions
    right, down = pixel_axes_ras(directions[:, 2])
    if right @ directions[:, 0] < -0.5:
        axes.invert_xaxis()
    if down @ directions[:, 1] < -0.5:
        axes.invert_yaxis()


def _shades(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](0.05 + 0.85 * n / max(1, count - 1)) for n in range(count)]


def _patch(colour: Any, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)
