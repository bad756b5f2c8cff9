"""A sequence that gives up its blocks loses no more than it must."""

from __future__ import annotations

import pytest

from tests.worker.scheduling.fake_model import FakeModel, continuation
from worker.scheduling.plan import Plan
from worker.scheduling.preemption import PreemptionCosts
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import Sequence

COPIES_ARE_CHEAP = PreemptionCosts(block_copy_s=1e-6, token_s=1e-3)
TOKENS_ARE_CHEAP = PreemptionCosts(block_copy_s=1e-3, token_s=1e-6)


def crowded(costs: PreemptionCosts, host_blocks: int = 8) -> tuple[Scheduler, Sequence, Sequence]:
    """Two sequences that grow until the second must go."""
    scheduler = Scheduler(Limits(2, 32, 6, 4, host_blocks=host_blocks))
    scheduler.host.costs = costs
    better = Sequence(0, [1] * 7, 7, 24)
    worse = Sequence(1, [2] * 7, 7, 20)
    scheduler.add(better)
    scheduler.add(worse)
    return scheduler, better, worse


def run_until_preemption(scheduler: Scheduler, model: FakeModel) -> Plan:
    while True:
        plan = step(scheduler, model)
        if scheduler.preemptions:
            return plan


def step(scheduler: Scheduler, model: FakeModel) -> Plan:
    plan = scheduler.plan(0.0)
    assert plan is not None
    scheduler.commit(model.run(plan))
    return plan


def finish(scheduler: Scheduler, model: FakeModel) -> list[Plan]:
    plans = []
    while scheduler.running or scheduler.waiting:
        plans.append(step(scheduler, model))
    return plans


def test_it_is_swapped_where_copies_are_cheaper_and_comes_back_as_it_was() -> None:
    scheduler, _, worse = crowded(COPIES_ARE_CHEAP)
    model = FakeModel(4)
    plan = run_until_preemption(scheduler, model)
    computed = worse.computed_tokens
    assert len(plan.swap_out) == -(-computed // 4)
    assert worse.host_slots == tuple(slot for _, slot in plan.swap_out)
    plans = finish(scheduler, model)
    [back] = [each for each in plans if each.swap_in]
    [part] = [part for part in back.slices if part.sequence is worse]
    assert (part.start, part.count) == (computed, 1)
    assert worse.tokens[7:] == continuation("", [2] * 7, 13)
    assert scheduler.host.free_slots == 8


def test_it_is_computed_again_where_that_is_cheaper() -> None:
    scheduler, _, worse = crowded(TOKENS_ARE_CHEAP)
    model = FakeModel(4)
    assert not run_until_preemption(scheduler, model).swap_out
    assert not any(each.swap_in for each in finish(scheduler, model))
    assert worse.tokens[7:] == continuation("", [2] * 7, 13)


def test_it_is_computed_again_where_host_memory_is_full() -> None:
    scheduler, _, worse = crowded(COPIES_ARE_CHEAP, host_blocks=2)
    model = FakeModel(4)
    run_until_preemption(scheduler, model)
    assert worse.host_slots == ()
    finish(scheduler, model)


def test_a_prefix_that_others_hold_makes_computing_again_cheaper() -> None:
    scheduler = Scheduler(Limits(2, 32, 8, 4, host_blocks=8))
    scheduler.host.costs = PreemptionCosts(block_copy_s=1.4, token_s=1.0)
    sharing = Sequence(0, [1] * 9, 9, 20)
    alone = Sequence(1, [1] * 9, 9, 20, cache_salt="other")
    for each in (sharing, alone):
        scheduler.add(each)
    step(scheduler, FakeModel(4))
    for each in (sharing, alone):
        assert len(scheduler.host.take_in(each)) == 3
        each.host_slots = ()
    scheduler.blocks.tree.hold(sharing.shared_path)
    assert scheduler.host.take_in(sharing) == ()


def test_the_slots_of_one_who_is_cancelled_are_free_again() -> None:
    scheduler, _, worse = crowded(COPIES_ARE_CHEAP)
    run_until_preemption(scheduler, FakeModel(4))
    scheduler.cancel(worse)
    assert scheduler.host.free_slots == 8


@pytest.mark.parametrize("costs", [COPIES_ARE_CHEAP, TOKENS_ARE_CHEAP])
def test_what_was_sampled_before_it_went_still_counts(costs: PreemptionCosts) -> None:
    scheduler, better, worse = crowded(costs)
    model = FakeModel(4)
    plan = scheduler.plan(0.0)
    while not scheduler.preemptions:
        following = scheduler.plan(0.0)
        assert plan is not None
        scheduler.commit(model.run(plan))
        plan = following
    assert plan is not None
    scheduler.commit(model.run(plan))
    finish(scheduler, model)
    assert better.tokens[7:] == continuation("", [1] * 7, 17)
    assert worse.tokens[7:] == continuation("", [2] * 7, 13)
