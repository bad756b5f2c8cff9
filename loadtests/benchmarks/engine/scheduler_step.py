"""What one step costs the scheduler, by the number of running sequences."""

from __future__ import annotations

from loadtests.benchmarks import scheduler_cost
from loadtests.benchmarks.engine.workload import Size
from loadtests.benchmarks.report import Row, row

LEVELS = (1, 64, 256, 1024)
_GOALS_MS = {256: 1.0}


def name(sequences: int) -> str:
    return f"scheduler.step_ms.{sequences}_sequences"


def measure(sequences: int, size: Size) -> Row:
    """Milliseconds of processor time to plan and commit a decode step of so many sequences."""
    found = [scheduler_cost.measure(sequences) * 1000 for _ in range(size.rounds)]
    goal = _GOALS_MS.get(sequences)
    return row(name(sequences), found, "ms", goal=goal, less_is_better=True)
