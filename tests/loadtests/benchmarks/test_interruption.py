"""Ctrl-C ends a benchmark with one line and the rows that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from loadtests.benchmarks import stack
from loadtests.benchmarks.engine import __main__ as engine
from loadtests.benchmarks.report import Report, row


def _cut_off_at_once(_report: Report, *_: object) -> Iterator[None]:
    raise KeyboardInterrupt


def _cut_off_after_a_row(report: Report, *_: object) -> Iterator[None]:
    report.rows.append(row("measured", [1.0], "s"))
    raise KeyboardInterrupt


def _arguments(benchmark: ModuleType, folder: Path) -> list[str]:
    own = ["--model", str(folder), "--cache", str(folder)] if benchmark is engine else []
    return ["--quick", "--json", str(folder / "found.json"), *own]


@pytest.mark.parametrize("benchmark", [stack, engine])
def test_what_was_measured_is_shown_and_written(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(benchmark, "measure", _cut_off_after_a_row)
    assert benchmark.main(_arguments(benchmark, tmp_path)) == 130
    out, err = capsys.readouterr()
    assert err == "benchmark: stopped by Ctrl-C; 1 rows are there\n"
    assert "measured" in out and "cut off by Ctrl-C" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["name"] for each in found["rows"]] == ["measured"]


@pytest.mark.parametrize("benchmark", [stack, engine])
def test_without_a_row_there_is_no_table(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(benchmark, "measure", _cut_off_at_once)
    assert benchmark.main(_arguments(benchmark, tmp_path)) == 130
    assert capsys.readouterr() == ("", "benchmark: stopped by Ctrl-C; nothing was measured yet\n")
