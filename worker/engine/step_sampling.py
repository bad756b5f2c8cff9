"""Now and then a step tells what it held and how long it took, so that others can learn how fast
the engine is (`infra.performance.correction`)."""

from __future__ import annotations

import time
from collections.abc import Callable

from infra.wire import StepSample
from worker.scheduling.plan import Plan

_EVERY_S = 0.1


class StepSampling:
    """Looks at few steps: it costs a pass over the slices of each that it looks at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = 0.0
        self.newest: StepSample | None = None
        self.count = 0
        """Of samples so far."""

    def see(self, plan: Plan, duration_s: float) -> None:
        now_s = self._clock()
        if now_s < self._next_s:
            return
        sample = sample_of(plan, duration_s)
        if sample is not None:
            self.newest, self._next_s = sample, now_s + _EVERY_S
            self.count += 1


def sample_of(plan: Plan, duration_s: float) -> StepSample | None:
    """None for a step that tells nothing by itself: decodes and prompts mixed, several prompts, or
    blocks that moved to or from host memory."""
    if plan.swap_in or plan.swap_out or not plan.slices:
        return None
    prompts = [each for each in plan.slices if each.start < each.sequence.prompt_tokens]
    if not prompts:
        context = sum(each.start + each.count for each in plan.slices)
        return StepSample(len(plan.slices), context, 0, 0, duration_s)
    if len(plan.slices) > 1:
        return None
    [only] = prompts
    return StepSample(0, 0, only.count, only.start, duration_s)
