"""The scheduler's promises, for any arrivals, limits, results, faults and cancellations."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.worker.scheduling.fake_model import STOP, FakeModel, continuation
from worker.scheduling.block_manager import NULL_BLOCK
from worker.scheduling.plan import Plan, StepResult
from worker.scheduling.preemption import PreemptionCosts
from worker.scheduling.scheduler import Limits, Scheduler
from worker.scheduling.sequence import Sequence

COMMON = [(i * i) % 3 for i in range(13)]
"""Prompts begin with some of this, so that they share prefixes."""
LONGEST = 40


class AnySchedule(RuleBasedStateMachine):
    """Plans are made, run and committed in their order, two ahead at most, and anything may happen
    between them."""

    @initialize(
        max_running=st.integers(1, 5),
        spare_tokens=st.integers(0, 12),
        blocks=st.sampled_from([LONGEST // 4, LONGEST // 4 + 2, LONGEST // 4 + 8]),
        host_blocks=st.sampled_from([0, 8, 24]),
        token_s=st.sampled_from([0.6, 9.0]),
        prefix_cache=st.sampled_from([True, True, False]),
        mixed=st.sampled_from([None, 1, 3]),
    )
    def limits(
        self,
        max_running: int,
        spare_tokens: int,
        blocks: int,
        host_blocks: int,
        token_s: float,
        prefix_cache: bool,
        mixed: int | None,
    ) -> None:
        budget = max_running + spare_tokens
        self.scheduler = Scheduler(
            Limits(max_running, budget, blocks, 4, prefix_cache, host_blocks, mixed)
        )
        self.scheduler.host.costs = PreemptionCosts(block_copy_s=1.0, token_s=token_s)
        self.faults: dict[int, int] = {}
        self.model = FakeModel(4, self.faults)
        self.sequences: list[Sequence] = []
        self.cancelled: set[int] = set()
        self.failed: set[int] = set()
        self.outputs: Counter[int] = Counter()
        self.planned: deque[Plan] = deque()
        self.results: deque[StepResult] = deque()

    @rule(
        copies=st.sampled_from([1, 1, 2, 4]),
        common=st.sampled_from([3, 8, 12, 13]),
        own=st.sampled_from([[], [], [0], [1, 1], [1, 0, 1, 1, 0]]),
        output=st.integers(1, LONGEST - 18),
        priority=st.integers(-1, 1),
        salt=st.sampled_from(["", "", "other"]),
        reuse=st.sampled_from([True, True, True, False]),
        fault=st.sampled_from([None, None, None, 3, 9, 15, 22]),
    )
    def add(
        self,
        copies: int,
        common: int,
        own: list[int],
        output: int,
        priority: int,
        salt: str,
        reuse: bool,
        fault: int | None,
    ) -> None:
        prompt = COMMON[:common] + own
        limit, stop = len(prompt) + output, frozenset({STOP})
        for number in range(len(self.sequences), len(self.sequences) + copies):
            tokens = list(prompt)
            sequence = Sequence(number, tokens, len(prompt), limit, stop, priority, salt, reuse)
            self.sequences.append(sequence)
            self.scheduler.add(sequence)
        if fault is not None:
            self.faults[number] = fault

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.sequences))
        if not sequence.finished:
            self.scheduler.cancel(sequence)
            self.cancelled.add(sequence.sequence_id)

    @precondition(lambda self: self.scheduler.outstanding < 2)
    @rule()
    def plan(self) -> None:
        plan = self.scheduler.plan(0.0)
        if plan is not None:
            self.planned.append(plan)
            self.check_plan(plan)

    @precondition(lambda self: self.planned)
    @rule(counts=st.lists(st.sampled_from([1, 1, 1, 0, 2, 3]), min_size=5, max_size=5))
    def run_next(self, counts: list[int]) -> None:
        plan = self.planned.popleft()
        numbers = [part.sequence.sequence_id for part in plan.slices]
        self.run_plan(plan, dict(zip(numbers, counts, strict=False)))

    @precondition(lambda self: self.results)
    @rule()
    def commit(self) -> None:
        result = self.results.popleft()
        for outcome in self.scheduler.commit(result):
            number = outcome.sequence.sequence_id
            self.outputs[number] += len(outcome.tokens)
            if outcome.failure:
                self.failed.add(number)

    @precondition(lambda self: self.sequences)
    @rule(steps=st.integers(1, 8))
    def go_on(self, steps: int) -> None:
        """Most of the time nothing special happens: else few sequences would ever get far."""
        for _ in range(steps):
            self.step()
            self.every_block_has_one_place()

    def step(self) -> None:
        if self.scheduler.outstanding < 2:
            self.plan()
        if self.planned and not self.results:
            self.run_plan(self.planned.popleft(), {})
        if self.results:
            self.commit()

    def run_plan(self, plan: Plan, news: dict[int, int]) -> None:
        in_tree = {node.block for node in self.scheduler.blocks.tree}
        assert not in_tree & written_blocks(plan), "a cached block is written"
        self.results.append(self.model.run(plan, news))

    def check_plan(self, plan: Plan) -> None:
        assert 0 < plan.tokens <= self.scheduler.limits.step_tokens
        assert len(plan.slices) <= self.scheduler.limits.max_running
        readers = Counter(block for each in self.scheduler.running for block in each.block_table)
        in_tree = {node.block for node in self.scheduler.blocks.tree}
        for part in plan.slices:
            assert len(part.block_table) * 4 >= part.start + part.count
        for block in written_blocks(plan):
            assert block != NULL_BLOCK
            assert block not in in_tree
            assert readers[block] == 1, "a block that others read is written"
        assert len(plan.fresh_blocks) == len(set(plan.fresh_blocks))
        assert not set(plan.fresh_blocks) & in_tree
        assert not set(plan.fresh_blocks) & {block for _, block in plan.swap_in}

    @invariant()
    def every_block_has_one_place(self) -> None:
        scheduler = self.scheduler
        nodes = {node.block: node for node in scheduler.blocks.tree}
        holders = Counter(node.block for each in scheduler.running for node in each.shared_path)
        own = [
            block
            for each in scheduler.running
            for block in each.block_table[len(each.shared_path) :]
        ]
        free = scheduler.blocks.free_blocks - scheduler.blocks.tree.idle_blocks
        assert all(node.references == holders[block] for block, node in nodes.items())
        assert set(holders) <= set(nodes)
        assert len(set(own)) == len(own), "a block has two owners"
        assert not set(own) & set(nodes)
        assert len(own) + len(nodes) + free == scheduler.limits.blocks, "a block leaked"
        assert scheduler.blocks.tree.idle_blocks == len(nodes) - len(holders)

    @invariant()
    def every_waiting_sequence_has_no_block_and_every_slot_one_owner(self) -> None:
        scheduler = self.scheduler
        slots = [slot for each in scheduler.waiting for slot in each.host_slots]
        assert not any(each.block_table or each.shared_path for each in scheduler.waiting)
        assert not any(each.host_slots for each in scheduler.running)
        assert len(set(slots)) == len(slots)
        assert len(slots) + scheduler.host.free_slots == scheduler.limits.host_blocks
        assert len(scheduler.running) <= scheduler.limits.max_running

    def teardown(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        steps = 20 + 2 * sum(each.limit_tokens for each in self.sequences)
        for _ in range(steps):
            self.step()
        assert all(each.finished for each in self.sequences), "a sequence starved"
        assert self.scheduler.blocks.free_blocks == self.scheduler.limits.blocks
        for each in self.sequences:
            self.check_output(each)

    def check_output(self, sequence: Sequence) -> None:
        number, prompt = sequence.sequence_id, sequence.prompt_tokens
        output = sequence.tokens[prompt:]
        truth = continuation(sequence.cache_salt, sequence.tokens[:prompt], len(output) + 1)
        assert output == truth[:-1]
        assert len(output) == self.outputs[number]
        if number in self.failed:
            assert number in self.faults
        elif number not in self.cancelled:
            assert len(sequence.tokens) == sequence.limit_tokens or truth[-1] == STOP


def written_blocks(plan: Plan) -> set[int]:
    return {
        part.block_table[position // 4]
        for part in plan.slices
        for position in range(part.start, part.start + part.count)
    }


AnySchedule.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_whatever_happens_every_sequence_gets_its_own_tokens = AnySchedule.TestCase
