"""What a step tells of the engine's speed."""

from __future__ import annotations

import pytest

from infra.wire import StepSample
from worker.engine.step_sampling import StepSampling, sample_of
from worker.scheduling.plan import Plan, Slice
from worker.scheduling.sequence import Sequence


def part(start: int, count: int, prompt_tokens: int = 10) -> Slice:
    sequence = Sequence(1, list(range(start + count)), prompt_tokens, 100)
    return Slice(sequence, start, count, True, 0, 0, ())


def plan(*parts: Slice, swap_in: tuple[tuple[int, int], ...] = ()) -> Plan:
    return Plan(0.0, parts, (), swap_in=swap_in)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (plan(part(10, 1), part(40, 1)), StepSample(2, 52, 0, 0, 0.5)),
        (plan(part(0, 10)), StepSample(0, 0, 10, 0, 0.5)),
        (plan(part(4, 6)), StepSample(0, 0, 6, 4, 0.5)),
        (plan(part(10, 1), part(0, 10)), None),
        (plan(part(0, 10), part(0, 10)), None),
        (plan(part(10, 1), swap_in=((1, 1),)), None),
        (plan(), None),
    ],
)
def test_a_step_of_one_kind_tells_what_it_held(seen: Plan, expected: StepSample | None) -> None:
    assert sample_of(seen, 0.5) == expected


def test_few_steps_are_looked_at_and_one_that_tells_nothing_does_not_count() -> None:
    now_s = 1.0
    samples = StepSampling(lambda: now_s)
    samples.see(plan(part(10, 1), part(0, 10)), 0.5)
    assert samples.count == 0
    for count in (1, 1):
        samples.see(plan(part(10, 1)), 0.5)
        assert samples.count == count
    now_s = 1.2
    samples.see(plan(part(0, 10)), 0.25)
    assert (samples.count, samples.newest) == (2, StepSample(0, 0, 10, 0, 0.25))
