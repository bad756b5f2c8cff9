from __future__ import annotations

import json

import pytest

from loadtests.benchmarks.report import Report, not_measured, row


def test_a_row_is_the_median_of_its_rounds_and_the_ratio_is_of_medians() -> None:
    found = row("x.8_streams", [10.0, 30.0, 20.0], "tok/s", [40.0, 20.0, 25.0], goal=0.9)
    assert (found.value, found.spread, found.peer) == (20.0, (10.0, 30.0), 25.0)
    assert found.ratio == pytest.approx(0.8)
    assert found.verdict == "missed"


def test_without_a_peer_the_goal_is_for_the_value() -> None:
    assert row("x", [10.0], "tok/s", goal=10.0).verdict == "met"
    assert row("x", [9.9], "tok/s", goal=10.0).verdict == "missed"
    assert row("x", [9.9], "tok/s").verdict == ""


def test_of_some_figures_less_is_better() -> None:
    assert row("x", [9.0], "ms", goal=10.0, less_is_better=True).verdict == "met"
    assert row("x", [11.0], "ms", goal=10.0, less_is_better=True).verdict == "missed"


def test_machines_get_every_field_that_the_style_names() -> None:
    report = Report("stack", quick=True, rows=[row("x", [1.0, 3.0], "s")], notes=["n"])
    found = json.loads(report.json())
    assert {"benchmark", "commit", "machine", "rows"} <= set(found)
    assert found["machine"]["cores"] >= 1
    assert found["rows"] == [
        {
            "name": "x",
            "value": 2.0,
            "unit": "s",
            "spread": [1.0, 3.0],
            "peer": None,
            "ratio": None,
            "goal": None,
        }
    ]


def test_people_get_a_table_with_notes() -> None:
    report = Report("stack", quick=False, rows=[row("x", [12345.0], "tok/s")], notes=["one thing"])
    lines = report.table().splitlines()
    assert lines[2].split() == ["x", "12,345", "tok/s", "12,345–12,345"]
    assert lines[-1] == "note: one thing"


def test_a_row_without_a_figure_says_so_in_both_forms() -> None:
    report = Report("engine", quick=False, rows=[not_measured("x", "no compiler", goal=1.0)])
    assert report.rows[0].verdict == ""
    assert report.table().splitlines()[2].split() == ["x", "not", "measured", "1", "no", "compiler"]
    [found] = json.loads(report.json())["rows"]
    assert (found["value"], found["remark"]) == (None, "no compiler")


def test_a_goal_for_the_ratio_has_no_verdict_without_a_peer() -> None:
    assert row("x", [9.0], "tok/s", goal=1.0, of_ratio=True).verdict == ""
    assert row("x", [9.0], "tok/s", [3.0], goal=1.0, of_ratio=True).verdict == "met"
