"""A benchmark's report: one HTML file that holds all it shows."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.evaluation.cases import BenchmarkCase
from PromptSegLib.evaluation.columns import Column, Record, challenge_columns, dice_columns, effort_columns
from PromptSegLib.evaluation.corrections import CORRECTIONS_HEAD, by_all, by_shape, by_start, correction_lines
from PromptSegLib.evaluation.figures import (
    RESULT_COLOUR,
    TRUTH_COLOUR,
    case_figure,
    corrections_figure,
    dice_figure,
    latency_figure,
)
from PromptSegLib.evaluation.gallery import Exhibit, choose_exhibits
from PromptSegLib.evaluation.latency import Latency, latencies
from PromptSegLib.evaluation.protocols import PROTOCOLS
from PromptSegLib.evaluation.results import Results, by_dataset, by_dimensions, by_structure, table
from PromptSegLib.evaluation.statistics import Mean
from PromptSegLib.evaluation.trial import slice_from_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = f"""
:root {{ color-scheme: light; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.7rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }}
table {{ border-collapse: collapse; margin: .6rem 0 1rem; font-size: 13px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .22rem .7rem; text-align: right; white-space: nowrap; }}
th {{ border-bottom: 2px solid #888; }} tbody tr + tr td {{ border-top: 1px solid #eee; }}
td:nth-child(-n+2), th:nth-child(-n+2) {{ text-align: left; }}
small {{ color: #666; font-size: 11px; }} b {{ font-weight: 650; }}
.scroll {{ overflow-x: auto; }} img, svg {{ max-width: 100%; height: auto; }}
.gallery {{ display: grid; grid-template-columns: 8rem repeat(3, 1fr); gap: .6rem; align-items: center; }}
figure {{ margin: 0; }} figcaption {{ font-size: 12px; line-height: 1.3; }}
.gallery img {{ width: 100%; background: #000; }}
.truth {{ color: {TRUTH_COLOUR}; }} .result {{ color: {RESULT_COLOUR}; }} .key {{ background: #333; padding: 0 .4rem; }}
"""


def write_report(path: Path, results: Results, cases: Sequence[BenchmarkCase]) -> None:
    """Write the report of `results` to `path`. cases: those of the benchmark; their images are read for the gallery."""
    clicks = int(results.settings["clicks"])
    times = latencies(results)
    accuracy, effort = dice_columns(clicks), effort_columns(clicks)
    parts = [
        "<h1>Benchmark of interactive segmentation</h1>",
        _introduction(results),
        "<h2>Accuracy by the number of prompts</h2>",
        _svg(dice_figure(results)),
        _table(results, accuracy, by_dimensions),
        "<h2>By data set</h2>",
        _table(results, accuracy, by_dataset),
        "<h2>Number of clicks, and surfaces</h2>",
        "<p>Clicks to a Dice, all of them where they do not suffice; the part of all cases that stay below it; "
        "surfaces after all clicks, HD95 of masks that are not empty. Pixels without a size count as 1 mm.</p>",
        _table(results, effort, by_dimensions),
        _section("Corrections of masks that came from elsewhere", _corrections(results)),
        _section("CVPR 2025 challenge", _table(results, challenge_columns(), by_dimensions)),
        "<h2>Time and memory</h2>",
        _svg(latency_figure(times)) if times else "",
        _latency_table(times),
        "<h2>Worst, median and best</h2>",
        '<p><span class="key"><span class="truth">truth</span> · <span class="result">result</span></span> on the '
        "slice through the structure's middle; clicks numbered, green on the structure, red beside it, hollow on other "
        "slices.</p>",
        _gallery(choose_exhibits(results, cases)),
        "<h2>By structure</h2>",
        _table(results, accuracy, by_structure),
        _failures(results),
    ]
    body = "\n".join(parts)
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>PromptSeg benchmark</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n{body}\n'
        "</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _introduction(results: Results) -> str:
    settings = results.settings
    used = dict.fromkeys(record["protocol"] for record in results.records)
    protocols = "".join(f"<li><b>{_text(name)}</b>: {_text(PROTOCOLS[name].summary)}</li>" for name in used)
    view = (
        "All models were told a view of which the structure takes a third."
        if settings["has_view"]
        else "No model was told what the user's view shows."
    )
    sources = "".join(
        f"<li>{_text(source['dataset'])}: {_text(source['url'] or 'source not stated')} {_text(source['license'])}</li>"
        for source in settings.get("sources", [])
    )
    versions = ", ".join(f"{name} {version}" for name, version in settings["versions"].items() if version)
    aliases = [f"{model} is {name}" for model, name in settings["names"].items() if model != name]
    made_with = "; ".join([settings["machine"], versions, *aliases])
    cases = len({record["case"] for record in results.records})
    images = len({(record["dataset"], record["image"]) for record in results.records})
    return (
        f"<p>{cases} structures in {images} images. Means over structures, with 95 % bootstrap intervals. {view}</p>"
        f"<ul>{protocols}</ul>{f'<p>Images:</p><ul>{sources}</ul>' if sources else ''}"
        f"<p><small>{_text(made_with)}</small></p>"
    )


def _table(results: Results, columns: Sequence[Column], group_of: Callable[[Record], str]) -> str:
    """Return a table as HTML, without columns that nobody has a figure for; the best of each group is bold."""
    rows = table(results, columns, group_of)
    used = [n for n in range(len(columns)) if any(row.means[n] is not None for row in rows)]
    if not used:
        return ""
    lines = []
    for row in rows:
        rivals = [other for other in rows if other.group == row.group]
        cells = [_cell(row.means[n], [other.means[n] for other in rivals], columns[n].is_better_high) for n in used]
        lines.append([_text(row.group), _text(row.model), *cells])
    return _html_table(["", "model", *(_text(columns[n].title) for n in used)], lines)


def _cell(mean: Mean | None, rivals: Sequence[Mean | None], is_better_high: bool) -> str:
    """Return a mean and its interval, bold where it is the best of `rivals`, of which it is one."""
    if mean is None:
        return ""
    values = [rival.value for rival in rivals if rival is not None]
    is_best = len(values) > 1 and mean.value == (max(values) if is_better_high else min(values))
    value = f"<b>{mean.value:.3f}</b>" if is_best else f"{mean.value:.3f}"
    return f"{value} <small>{mean.low:.2f} to {mean.high:.2f}</small>"


def _latency_table(times: Iterable[Latency]) -> str:
    lines = [
        [
            _text(one.group),
            _text(one.model),
            f"{one.median_ms:.0f}",
            f"{one.percentile_95_ms:.0f}",
            "" if one.encode_ms is None else f"{one.encode_ms:.0f}",
            "" if one.peak_mib is None else f"{one.peak_mib:.0f}",
            str(one.count),
        ]
        for one in times
    ]
    head = ["", "model", "median ms", "95th percentile ms", "once an image ms", "peak memory MiB", "answers"]
    return _html_table(head, lines)


def _gallery(exhibits: Sequence[Exhibit]) -> str:
    cells = []
    for exhibit in exhibits:
        if exhibit.place == "worst":
            cells.append(f"<div><b>{_text(exhibit.model)}</b><br>{exhibit.group}</div>")
        loaded = exhibit.case.load()
        record = exhibit.record
        mask = slice_from_record(record["slice"], loaded.volume.grid.shape_kji)
        picture = _png(case_figure(loaded, record, mask, record["slice"]["k"]))
        prompts = sum(len(step["prompts"]) for step in record["steps"])
        words = f"{prompts} prompt{'s'[: prompts != 1]}"
        cells.append(
            f'<figure><img alt="" src="data:image/png;base64,{picture}"><figcaption>{exhibit.place}: Dice '
            f"{exhibit.dice:.3f}, {words}<br><small>{_text(record['case'])}</small></figcaption></figure>"
        )
    return f'<div class="gallery">{"".join(cells)}</div>'


def _corrections(results: Results) -> str:
    """Return what prompts did to masks that came from elsewhere, by shape and by how these masks came about."""
    tables = [
        _html_table(CORRECTIONS_HEAD, [[_text(cell) for cell in line] for line in correction_lines(results, group_of)])
        for group_of in (by_all, by_shape, by_start)
        if correction_lines(results, group_of)
    ]
    if not tables:
        return ""
    words = (
        "<p>Mean Dice before and after each prompt, what it gains, the share of prompts that lose more than 0.01, the "
        "worst, and voxels changed outside of the error that was prompted.</p>"
    )
    return words + _svg(corrections_figure(results)) + "".join(tables)


def _failures(results: Results) -> str:
    failed = [record for record in results.records if record["status"] == "failed"]
    if not failed:
        return ""
    lines = [[_text(r["model"]), _text(r["case"]), _text(r["protocol"]), _text(r["error"])] for r in failed]
    return _section("Failures", _html_table(["model", "case", "protocol", "error"], lines))


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "promptseg"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="black")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _text(value: object) -> str:
    return html.escape(str(value))
