"""Who runs when, and who gives way."""

from __future__ import annotations

import pytest

from worker.scheduling.plan import Outcome, Plan, StepResult
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import MOST_PRIORITY, PRIORITY_LEAD, Sequence

STOP = 99


def sequence(number: int, prompt: int, output: int, priority: int = 0) -> Sequence:
    """No two sequences have a prefix in common."""
    tokens = [100 * (number + 1) + i for i in range(prompt)]
    return Sequence(number, tokens, prompt, prompt + output, frozenset({STOP}), priority)


def run_one(scheduler: Scheduler, token: int = 1) -> list[Outcome]:
    """Plan one step and commit one new token of each sampling slice."""
    plan = scheduler.plan(0.0)
    assert plan is not None
    return scheduler.commit(result_of(plan, token))


def result_of(plan: Plan, token: int = 1) -> StepResult:
    return StepResult({part.sequence.sequence_id: [token] for part in plan.slices if part.samples})


def test_decodes_go_before_prefill_chunks_which_take_the_rest_of_the_budget() -> None:
    scheduler = Scheduler(Limits(max_running=4, step_tokens=8, blocks=40, block_tokens=4))
    scheduler.add(sequence(0, 5, 10))
    run_one(scheduler)
    scheduler.add(sequence(1, 20, 10))
    plan = scheduler.plan(0.0)
    assert plan is not None
    assert [(part.sequence.sequence_id, part.start, part.count) for part in plan.slices] == [
        (0, 5, 1),
        (1, 0, 7),
    ]
    assert [part.samples for part in plan.slices] == [True, False]


def test_prompts_hold_decodes_up_no_longer_than_is_allowed() -> None:
    limits = Limits(4, step_tokens=16, blocks=40, block_tokens=4, mixed_prefill_tokens=3)
    scheduler = Scheduler(limits)
    first, second = sequence(0, 12, 2), sequence(1, 20, 10)
    scheduler.add(first)
    assert planned(scheduler) == [(0, 12)]
    scheduler.add(second)
    assert planned(scheduler) == [(0, 1), (1, 3)]
    assert first.finished
    assert planned(scheduler) == [(1, 16)]


def planned(scheduler: Scheduler) -> list[tuple[int, int]]:
    """Sequence and positions of each slice of the next step, which is run."""
    plan = scheduler.plan(0.0)
    assert plan is not None
    scheduler.commit(result_of(plan))
    return [(part.sequence.sequence_id, part.count) for part in plan.slices]


def test_the_youngest_gives_up_its_blocks_and_is_computed_again() -> None:
    scheduler = Scheduler(Limits(max_running=2, step_tokens=16, blocks=4, block_tokens=4))
    old, young = sequence(0, 7, 9), sequence(1, 7, 1 + 8)
    scheduler.add(old)
    scheduler.add(young)
    run_one(scheduler)
    run_one(scheduler)
    assert scheduler.running == [old, young]
    run_one(scheduler)
    assert scheduler.running == [old]
    assert scheduler.waiting == [young]
    assert young.computed_tokens == 0
    assert young.output_tokens == 2
    while not young.finished:
        run_one(scheduler)
    assert old.output_tokens == 9
    assert young.output_tokens == 9


def test_a_stop_token_ends_a_sequence_and_is_no_output() -> None:
    scheduler = Scheduler(Limits(max_running=1, step_tokens=8, blocks=8, block_tokens=4))
    scheduler.add(sequence(0, 3, 5))
    run_one(scheduler)
    [outcome] = run_one(scheduler, token=STOP)
    assert outcome.stopped
    assert outcome.tokens == []
    assert outcome.sequence.output_tokens == 1
    assert scheduler.plan(0.0) is None


def test_a_failed_sequence_leaves_and_its_neighbour_goes_on() -> None:
    scheduler = Scheduler(Limits(max_running=2, step_tokens=8, blocks=8, block_tokens=4))
    scheduler.add(sequence(0, 3, 2))
    scheduler.add(sequence(1, 3, 2))
    scheduler.plan(0.0)
    failed, alive = scheduler.commit(StepResult({1: [1]}, {0: "logits are NaN"}))
    assert failed.failure == "logits are NaN"
    assert alive.tokens == [1]
    assert [each.sequence_id for each in scheduler.running] == [1]


def test_a_second_plan_decodes_on_a_token_that_is_not_known_yet() -> None:
    scheduler = Scheduler(Limits(max_running=1, step_tokens=8, blocks=8, block_tokens=4))
    scheduler.add(sequence(0, 3, 2))
    first, second = scheduler.plan(0.0), scheduler.plan(0.0)
    assert first is not None
    assert second is not None
    assert [(part.start, part.count) for part in second.slices] == [(3, 1)]
    with pytest.raises(RuntimeError, match="third"):
        scheduler.plan(0.0)
    scheduler.commit(StepResult({0: [7]}))
    assert scheduler.plan(0.0) is None, "the second plan gives the last token"
    [outcome] = scheduler.commit(StepResult({0: [8]}))
    assert outcome.sequence.tokens[3:] == [7, 8]
    assert outcome.sequence.finished


def test_a_sequence_larger_than_the_whole_cache_is_refused() -> None:
    scheduler = Scheduler(Limits(max_running=1, step_tokens=8, blocks=2, block_tokens=4))
    with pytest.raises(ValueError, match="the cache holds 8"):
        scheduler.add(sequence(0, 5, 4))


def test_a_budget_without_a_token_for_every_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="step budget"):
        Limits(max_running=9, step_tokens=8, blocks=2, block_tokens=4)


def test_whoever_has_no_block_for_its_next_token_waits_for_its_betters_and_keeps_its_blocks() -> (
    None
):
    scheduler = Scheduler(Limits(max_running=2, step_tokens=16, blocks=4, block_tokens=4))
    better, worse = sequence(0, 5, 3), sequence(1, 8, 4)
    scheduler.add(better)
    scheduler.add(worse)
    run_one(scheduler)
    assert [part.sequence for part in must_plan(scheduler).slices] == [better]
    assert scheduler.running == [better, worse]
    assert worse.computed_tokens == 8


def test_a_smaller_priority_goes_first_and_is_preempted_last() -> None:
    scheduler = Scheduler(Limits(max_running=2, step_tokens=16, blocks=4, block_tokens=4))
    late, early = sequence(0, 7, 9, priority=1), sequence(1, 7, 9, priority=0)
    scheduler.add(late)
    scheduler.add(early)
    for _ in range(3):
        run_one(scheduler)
    assert scheduler.running == [early]
    assert scheduler.waiting == [late]


def test_a_priority_lets_a_bounded_number_of_later_ones_pass_whatever_it_says() -> None:
    patient = sequence(0, 1, 1, priority=1_000_000)
    assert patient.rank > sequence(MOST_PRIORITY * PRIORITY_LEAD - 1, 1, 1).rank
    assert patient.rank < sequence(MOST_PRIORITY * PRIORITY_LEAD + 1, 1, 1).rank


def test_a_better_rank_that_waits_takes_no_blocks_from_those_who_run() -> None:
    scheduler = Scheduler(Limits(max_running=1, step_tokens=16, blocks=4, block_tokens=4))
    first, urgent = sequence(0, 4, 4), sequence(1, 4, 4, priority=-1)
    scheduler.add(first)
    run_one(scheduler)
    scheduler.add(urgent)
    run_one(scheduler)
    assert scheduler.running == [first]
    while not first.finished:
        run_one(scheduler)
    assert [part.sequence for part in must_plan(scheduler).slices] == [urgent]


def must_plan(scheduler: Scheduler) -> Plan:
    plan = scheduler.plan(0.0)
    assert plan is not None
    return plan
