"""Jumping over steps is the same as making them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.scheduling.plan import StepResult
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import Sequence
from worker.scheduling.steady import advance, steady_steps


def state(scheduler: Scheduler) -> Any:
    """Everything that later plans depend on, by value."""
    blocks = scheduler.blocks
    sequences = [
        (
            each.sequence_id,
            each.tokens,
            each.computed_tokens,
            each.proven_tokens,
            each.awaited_tokens,
            each.block_table,
            [node.block for node in each.shared_path],
        )
        for each in [*scheduler.running, *scheduler.waiting]
    ]
    nodes = [(node.digest, node.block, node.references) for node in blocks.tree]
    spare = deepcopy(blocks)
    order = [spare.grow(Sequence(-1, [0], 1, 2), blocks.block_tokens * blocks.free_blocks)]
    return sequences, nodes, order


def step(scheduler: Scheduler, tokens: dict[int, int]) -> int:
    plan = scheduler.plan(0.0)
    assert plan is not None
    numbers = [part.sequence.sequence_id for part in plan.slices if part.samples]
    scheduler.commit(StepResult({number: [tokens[number]] for number in numbers}))
    return len(numbers)


@settings(max_examples=100, deadline=None)
@given(
    prompts=st.lists(
        st.tuples(st.integers(1, 14), st.integers(0, 2), st.integers(12, 40)),
        min_size=1,
        max_size=5,
    ),
    max_running=st.integers(1, 5),
    blocks=st.integers(14, 40),
    left_behind=st.integers(0, 3),
    share=st.floats(0, 1),
    tokens=st.lists(st.integers(0, 1), min_size=1, max_size=40),
)
def test_advancing_equals_single_steps(
    prompts: list[tuple[int, int, int]],
    max_running: int,
    blocks: int,
    left_behind: int,
    share: float,
    tokens: list[int],
) -> None:
    scheduler = Scheduler(Limits(max_running, 24, blocks, 4))
    for number in range(left_behind):
        scheduler.add(Sequence(-1 - number, [number] * 9, 9, 10))
        step(scheduler, {-1 - number: 0})
    for number, (length, first, output) in enumerate(prompts):
        scheduler.add(Sequence(number, [first] * length, length, length + output))
    endless = dict.fromkeys(range(len(prompts)), 0)
    for _ in range(60):
        if steady_steps(scheduler) or not (scheduler.running or scheduler.waiting):
            break
        step(scheduler, endless)
    most = steady_steps(scheduler)
    steps = max(1, round(share * most))
    if not most:
        return
    sampled = {
        each.sequence_id: [tokens[(i * (1 + each.sequence_id)) % len(tokens)] for i in range(steps)]
        for each in scheduler.running
    }
    single = deepcopy(scheduler)
    advance(scheduler, sampled)
    for index in range(steps):
        sampling = step(single, {number: each[index] for number, each in sampled.items()})
        assert sampling == len(sampled)
    assert state(scheduler) == state(single)


def busy(max_running: int = 2, blocks: int = 20) -> Scheduler:
    scheduler = Scheduler(Limits(max_running, 16, blocks, 4))
    for number in range(2):
        scheduler.add(Sequence(number, [number] * 5, 5, 30, frozenset({9})))
    step(scheduler, {0: 0, 1: 0})
    return scheduler


def test_steps_are_steady_until_somebody_ends_or_blocks_run_out() -> None:
    assert steady_steps(busy()) == 30 - 6 - 1
    assert steady_steps(busy(blocks=8)) == 11


def test_nothing_is_steady_while_a_plan_is_outstanding_or_somebody_may_start() -> None:
    scheduler = busy()
    scheduler.plan(0.0)
    assert steady_steps(scheduler) == 0
    scheduler = busy(max_running=3)
    scheduler.add(Sequence(2, [2] * 5, 5, 30))
    assert steady_steps(scheduler) == 0


def test_an_end_is_not_jumped_over() -> None:
    with pytest.raises(ValueError, match="alike"):
        advance(busy(), {0: [1] * 24, 1: [1] * 24})
    with pytest.raises(ValueError, match="stop token"):
        advance(busy(), {0: [1, 9], 1: [1, 1]})
