"""Whether an engine is alive enough for its leases to be renewed (pure).

An engine that hangs must lose its jobs although its agent is well. So a renewal needs a sign of
life that is not older than one pause between renewals, or a declared long step.
"""

from __future__ import annotations


class Pulse:
    """Times are seconds of one monotonic clock."""

    def __init__(self, patience_s: float, now_s: float) -> None:
        """`patience_s`: how long a step may take that the engine has not declared as long."""
        self._patience_s = patience_s
        self._due_s = now_s + patience_s

    def step_ended(self, now_s: float) -> None:
        self._due_s = now_s + self._patience_s

    def work_given(self, now_s: float) -> None:
        """An engine without work owes no sign; from now on it does, after the step it may be in."""
        self._due_s = max(self._due_s, now_s + self._patience_s)

    def expect_long_step(self, bound_s: float, now_s: float) -> None:
        self._due_s = max(self._due_s, now_s + bound_s)

    def alive(self, now_s: float) -> bool:
        return now_s < self._due_s
