"""The scheduler's promises, for any arrivals, limits, results and cancellations."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.scheduling.block_manager import NULL_BLOCK
from worker.scheduling.plan import Outcome, Plan, StepResult
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import Sequence

STOP = 99


def sequence(number: int, prompt: int, output: int) -> Sequence:
    return Sequence(number, list(range(prompt)), prompt, prompt + output, frozenset({STOP}))


def run_one(scheduler: Scheduler, token: int = 1) -> list[Outcome]:
    """Plan one step and commit one new token of each sampling slice."""
    plan = scheduler.plan(0.0)
    assert plan is not None
    return scheduler.commit(
        StepResult({part.sequence.sequence_id: [token] for part in plan.slices if part.samples})
    )


def check(scheduler: Scheduler, plan: Plan | None) -> None:
    """What must hold after every call."""
    limits = scheduler.limits
    held = [block for each in scheduler.running for block in each.block_table]
    assert len(held) == len(set(held)), "a block is shared"
    assert NULL_BLOCK not in held
    assert all(0 < block <= limits.blocks for block in held)
    assert len(held) + scheduler.blocks.free_blocks == limits.blocks, "a block leaked"
    assert not any(each.block_table for each in scheduler.waiting)
    assert len(scheduler.running) <= limits.max_running
    if scheduler.running and scheduler.waiting:
        assert scheduler.running[-1].sequence_id < scheduler.waiting[0].sequence_id
    if plan is not None:
        assert 0 < plan.tokens <= limits.step_tokens
        for part in plan.slices:
            assert len(part.block_table) * limits.block_tokens >= part.start + part.count


@dataclass
class Cache:
    """Plays the model: knows which (sequence, position, token) each slot of the cache holds."""

    slots: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def run(self, plan: Plan, block_tokens: int, news: deque[int]) -> StepResult:
        sampled = {}
        for part in plan.slices:
            known = part.sequence
            current = not known.finished and known.epoch == part.epoch
            for position in range(part.start, part.start + part.count):
                slot = (part.block_table[position // block_tokens], position % block_tokens)
                self.slots[slot] = (known.sequence_id, position)
            for position in range(part.start + part.count):
                slot = (part.block_table[position // block_tokens], position % block_tokens)
                assert self.slots[slot] == (known.sequence_id, position), "a foreign KV entry"
            if current:
                assert part.start + part.count <= len(known.tokens), "an unknown token is computed"
            if part.samples:
                count = news.popleft() if news else 1
                sampled[known.sequence_id] = [len(known.tokens)] * count
        return StepResult(sampled)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=12),
    max_running=st.integers(1, 6),
    spare_tokens=st.integers(0, 10),
    blocks=st.integers(15, 40),
    news=st.lists(st.integers(0, 3), max_size=30),
    overlapped=st.booleans(),
    cancelled=st.sets(st.integers(0, 11), max_size=3),
)
def test_everything_added_finishes_and_no_limit_is_ever_broken(
    lengths: list[tuple[int, int]],
    max_running: int,
    spare_tokens: int,
    blocks: int,
    news: list[int],
    overlapped: bool,
    cancelled: set[int],
) -> None:
    scheduler = Scheduler(Limits(max_running, max_running + spare_tokens, blocks, 4))
    arrivals = deque(sequence(i, *each) for i, each in enumerate(lengths))
    everything = list(arrivals)
    outstanding: deque[Plan] = deque()
    outputs: dict[int, list[int]] = {each.sequence_id: [] for each in everything}
    cache, results = Cache(), deque(news)
    for step in range(4000):
        if arrivals:
            scheduler.add(arrivals.popleft())
        if step in cancelled and step < len(everything):
            scheduler.cancel(everything[step])
        if not outstanding or (overlapped and len(outstanding) < 2):
            plan = scheduler.plan(float(step))
            check(scheduler, plan)
            if plan is not None:
                outstanding.append(plan)
            if overlapped and plan is not None and len(outstanding) < 2:
                continue
        if outstanding:
            result = cache.run(outstanding.popleft(), 4, results)
            for outcome in scheduler.commit(result):
                outputs[outcome.sequence.sequence_id] += outcome.tokens
            check(scheduler, None)
        if not arrivals and not outstanding and not (scheduler.running or scheduler.waiting):
            break
    assert all(each.finished for each in everything), "a sequence starved"
    assert scheduler.blocks.free_blocks == blocks
    for each, (prompt, output) in zip(everything, lengths, strict=True):
        assert each.tokens[prompt:] == outputs[each.sequence_id]
        if each.sequence_id not in cancelled:
            assert each.output_tokens == output


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


def test_the_youngest_gives_up_its_blocks_and_is_computed_again() -> None:
    scheduler = Scheduler(Limits(max_running=2, step_tokens=16, blocks=4, block_tokens=4))
    old, young = sequence(0, 8, 8), sequence(1, 7, 1 + 8)
    scheduler.add(old)
    scheduler.add(young)
    run_one(scheduler)
    run_one(scheduler)
    assert scheduler.running == [old]
    assert scheduler.waiting == [young]
    assert young.computed_tokens == 0
    assert young.output_tokens == 1
    while not young.finished:
        run_one(scheduler)
    assert old.output_tokens == 8
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
