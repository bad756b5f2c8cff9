"""What one step costs the scheduler, by the number of running sequences."""

from __future__ import annotations

import importlib

from loadtests.benchmarks.engine.workload import Size
from loadtests.benchmarks.report import Row, not_measured, row

LEVELS = (1, 64, 256, 1024)
_GOALS_MS = {256: 1.0}
_COST = "loadtests.benchmarks.scheduler_cost"


def name(sequences: int) -> str:
    return f"scheduler.step_ms.{sequences}_sequences"


def measure(sequences: int, size: Size) -> Row:
    """Milliseconds to plan and commit a decode step of so many sequences."""
    goal = _GOALS_MS.get(sequences)
    try:
        cost = importlib.import_module(_COST)
    except ModuleNotFoundError:
        return not_measured(name(sequences), f"this checkout has no {_COST}", goal)
    found = [cost.measure(sequences) * 1000 for _ in range(size.rounds)]
    return row(name(sequences), found, "ms", goal=goal, less_is_better=True)
