"""Plan, run, commit: the loop of an engine, plain and overlapped.

Both take a runner whose `launch` starts steps in the order of their plans. The overlapped one plans
the next step while one runs; the scheduler plans on tokens that are not known yet, and the runner
fills them in where they were sampled.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from worker.engine.step_layout import StepLayout
from worker.scheduling.plan import Outcome, Plan, StepResult
from worker.scheduling.scheduler import Scheduler

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Committed:
    """A step that has run."""

    outcomes: list[Outcome]
    result: StepResult
    """What it gave; the outcomes say what was taken of it."""
    plan: Plan
    duration_s: float


class Pending(Protocol):
    def result(self) -> StepResult:
        """Waits for the step; raises what broke it."""


class StepRunner(Protocol):
    def prepare(self, plan: Plan) -> StepLayout: ...

    def launch(self, layout: StepLayout) -> Pending: ...


class Loop(Protocol):
    def step(self) -> Committed | None:
        """Commit one step; None where there is nothing to do. Raises what broke the step."""

    @property
    def outstanding_tokens(self) -> int:
        """Positions of the step that the next `step` waits for; 0 where none is outstanding."""

    def drain(self) -> None:
        """Wait for what is outstanding and commit it; nobody is left whom it would concern."""

    def close(self) -> None:
        """Start nothing more."""


class PlainLoop:
    """Nothing is outstanding between two steps."""

    outstanding_tokens = 0

    def __init__(
        self, scheduler: Scheduler, runner: StepRunner, clock: Clock = time.monotonic
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._clock = clock

    def step(self) -> Committed | None:
        plan = self._scheduler.plan(self._clock())
        if plan is None:
            return None
        result = self._runner.launch(self._runner.prepare(plan)).result()
        outcomes = self._scheduler.commit(result)
        return Committed(outcomes, result, plan, self._clock() - plan.made_at_s)

    def drain(self) -> None:
        return

    def close(self) -> None:
        return


class OverlappedLoop:
    """Between two steps one is running, as long as anybody wants its tokens.

    Args:
        threaded: whether `launch` computes, and so needs a thread of its own (a CPU); where it
            only queues work (a GPU), it does not.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: StepRunner,
        clock: Clock = time.monotonic,
        *,
        threaded: bool,
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "engine-steps") if threaded else None
        self._outstanding: deque[tuple[Plan, Pending]] = deque()
        self._committed_at_s = clock()

    def step(self) -> Committed | None:
        if not self._outstanding:
            self._start()
        if not self._outstanding:
            return None
        self._start()
        committed = self._commit()
        if not (self._scheduler.running or self._scheduler.waiting):
            self.drain()
        return committed

    @property
    def outstanding_tokens(self) -> int:
        return self._outstanding[0][0].tokens if self._outstanding else 0

    def drain(self) -> None:
        while self._outstanding:
            self._commit()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        plan = self._scheduler.plan(self._clock())
        if plan is not None:
            self._outstanding.append((plan, self._launch(self._runner.prepare(plan))))

    def _launch(self, layout: StepLayout) -> Pending:
        if self._thread is None:
            return self._runner.launch(layout)
        return self._thread.submit(lambda: self._runner.launch(layout).result())

    def _commit(self) -> Committed:
        plan, pending = self._outstanding.popleft()
        result = pending.result()
        outcomes = self._scheduler.commit(result)
        # It began when it was planned, or when the step before it ended.
        began_s = max(plan.made_at_s, self._committed_at_s)
        self._committed_at_s = self._clock()
        return Committed(outcomes, result, plan, self._committed_at_s - began_s)
