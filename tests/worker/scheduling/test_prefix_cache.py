"""What is computed once is not computed again."""

from __future__ import annotations

import pytest

from tests.worker.scheduling.fake_model import FakeModel
from worker.scheduling.plan import Plan
from worker.scheduling.prefix_tree import PrefixTree
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import Sequence

PROMPT = list(range(10))


class Engine:
    def __init__(self, blocks: int = 40, prefix_cache: bool = True, step_tokens: int = 64) -> None:
        limits = Limits(8, step_tokens, blocks, 4, prefix_cache)
        self.scheduler = Scheduler(limits)
        self.model = FakeModel(4)
        self._count = 0

    def add(self, tokens: list[int], output: int = 3, salt: str = "", **fields: bool) -> Sequence:
        count = len(tokens)
        sequence = Sequence(
            self._count, list(tokens), count, count + output, cache_salt=salt, **fields
        )
        self._count += 1
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> Plan:
        plan = self.scheduler.plan(0.0)
        assert plan is not None
        self.scheduler.commit(self.model.run(plan))
        return plan

    def finish(self) -> None:
        while self.scheduler.running or self.scheduler.waiting:
            self.step()


def starts(plan: Plan) -> list[int]:
    return [part.start for part in plan.slices]


def test_a_sequence_starts_after_the_longest_cached_prefix() -> None:
    engine = Engine()
    engine.add(PROMPT)
    engine.finish()
    engine.add([*PROMPT[:9], 77])
    assert starts(engine.step()) == [8]
    assert engine.scheduler.prefix_hit_tokens == 8
    assert engine.scheduler.prefix_queried_tokens == 20


def test_at_least_the_last_token_is_computed() -> None:
    engine = Engine()
    engine.add(PROMPT[:8])
    engine.finish()
    engine.add(PROMPT[:8])
    assert starts(engine.step()) == [4]


def test_an_attempt_that_was_offered_again_starts_after_what_was_delivered() -> None:
    engine = Engine()
    first = engine.add(PROMPT, output=8)
    engine.finish()
    engine.add(first.tokens[:17])
    assert starts(engine.step()) == [16]


def test_another_salt_shares_nothing() -> None:
    engine = Engine()
    engine.add(PROMPT, salt="a")
    engine.finish()
    engine.add(PROMPT, salt="b")
    assert starts(engine.step()) == [0]


@pytest.mark.parametrize("off", ["for all", "for one"])
def test_nothing_is_reused_where_that_is_not_wanted(off: str) -> None:
    engine = Engine(prefix_cache=off != "for all")
    engine.add(PROMPT)
    engine.finish()
    engine.add(PROMPT, reuse_prefix=off != "for one")
    assert starts(engine.step()) == [0]


def test_choices_of_one_prompt_compute_it_once_and_hold_it_once() -> None:
    engine = Engine()
    choices = [engine.add(PROMPT) for _ in range(4)]
    assert starts(engine.step()) == [0]
    assert starts(engine.step()) == [10, 8, 8, 8]
    assert len({each.block_table[:2] for each in choices}) == 1
    assert len({each.block_table[2:] for each in choices}) == 4


def test_who_computed_the_same_at_the_same_time_holds_it_once_from_then_on() -> None:
    engine = Engine()
    pair = [engine.add(PROMPT), engine.add(PROMPT, reuse_prefix=False)]
    engine.step()
    assert pair[0].block_table[:2] == pair[1].block_table[:2]
    assert pair[0].block_table[2] != pair[1].block_table[2]
    engine.finish()


def test_blocks_that_sequences_need_are_taken_from_the_cache() -> None:
    engine = Engine(blocks=4)
    for first in range(5):
        engine.add([first, *PROMPT])
        engine.finish()
    assert engine.scheduler.blocks.free_blocks == 4


def test_cached_blocks_are_not_cleared_and_others_are() -> None:
    engine = Engine()
    engine.add(PROMPT)
    engine.finish()
    sequence = engine.add(PROMPT)
    plan = engine.step()
    assert plan.fresh_blocks == sequence.block_table[2:]


def test_the_least_recently_used_leaf_goes_first_and_no_node_before_one_below_it() -> None:
    tree = PrefixTree()
    old = [tree.hold_or_add(name, block) for block, name in enumerate([b"a", b"ab"], 1)]
    tree.let_go(old)
    [shared] = tree.find([b"a"])
    tree.hold([shared])
    new = [shared, tree.hold_or_add(b"ac", 3)]
    tree.let_go(new)
    assert [tree.evict() for _ in range(3)] == [2, 3, 1]
    assert len(tree) == 0
