"""Ctrl-C in a benchmark: one line, and the rows that are there."""

from __future__ import annotations

import sys

from loadtests.benchmarks.report import Report

INTERRUPTED = 130
"""The exit code, as a shell counts SIGINT."""


def interrupted(report: Report) -> int:
    """Say that the run was cut off, here and in its report; returns the exit code."""
    report.notes.append("cut off by Ctrl-C: what is missing was not measured")
    rows = f"{len(report.rows)} rows are there" if report.rows else "nothing was measured yet"
    print(f"benchmark: stopped by Ctrl-C; {rows}", file=sys.stderr)
    return INTERRUPTED
