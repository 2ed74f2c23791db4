"""Results are kept as JSON, and made into tables."""

from __future__ import annotations

import pytest

from PromptSegLib.evaluation.columns import dice_columns
from PromptSegLib.evaluation.results import Results, ResultsError, by_dataset, by_dimensions, by_structure, table


def record(model, case, *dices, protocol="clicks", status="done", repetition=0, dimensions=3):
    dataset, _, structure = case.split("/")
    return {
        "model": model,
        "dataset": dataset,
        "case": case,
        "structure": structure,
        "dimensions": dimensions,
        "protocol": protocol,
        "repetition": repetition,
        "turns": 3,
        "status": status,
        "steps": [{"dice": dice} for dice in dices],
    }


RESULTS = Results(
    {"clicks": 3},
    [
        record("b", "ct/1/liver", 0.5, 0.7, 0.9),
        record("b", "ct/2/liver", 0.7),
        record("b", "mr/1/liver", 0.1, dimensions=2),
        record("b", "ct/1/liver", 0.2, protocol="human", repetition=0),
        record("b", "ct/1/liver", 0.6, protocol="human", repetition=1),
        record("b", "ct/2/liver", 0.9, protocol="human"),
        record("a", "ct/1/liver", status="unsupported"),
        record("a", "ct/1/liver", 0.3, protocol="box"),
    ],
)


def rows(group_of):
    columns = dice_columns(3)
    found = {}
    for row in table(RESULTS, columns, group_of):
        means = zip([column.title for column in columns], row.means, strict=True)
        found[row.group, row.model] = {title: (mean.value, mean.count) for title, mean in means if mean is not None}
    return found


def test_a_table_has_the_mean_over_cases_each_the_mean_of_its_repetitions():
    found = rows(by_dimensions)
    assert list(found) == [("2D", "b"), ("3D", "b"), ("3D", "a")]
    assert found["3D", "b"]["1 click"] == pytest.approx((0.6, 2))
    assert found["3D", "b"]["3 clicks"] == pytest.approx((0.8, 2))
    assert found["3D", "b"]["human scribbles"] == pytest.approx(((0.4 + 0.9) / 2, 2))


def test_prompts_that_are_not_taken_have_no_mean():
    assert rows(by_dimensions)["3D", "a"] == {"box": (pytest.approx(0.3), 1)}


def test_groups_are_dimensions_data_sets_or_structures():
    assert {group for group, _ in rows(by_dataset)} == {"ct", "mr"}
    assert {group for group, _ in rows(by_structure)} == {"ct: liver", "mr: liver"}


def test_what_is_written_is_read_a_line_for_each_record(tmp_path):
    path = tmp_path / "out.json"
    RESULTS.write(path)
    again = Results.read(path)
    assert (again.settings, again.records) == (RESULTS.settings, RESULTS.records)
    assert again.models() == ["b", "a"]
    assert path.read_text().count("\n") == 2 + len(RESULTS.records)
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "promptseg-benchmark", "version": 2}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"out\.json"):
        Results.read(path)
