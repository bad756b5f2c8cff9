"""Continuous batching with chunked prefill (Orca, Sarathi-Serve): plan a step, commit its result.

Plans run in the order they were made. At most two are outstanding, so that the next step can be
planned while the current one runs. Every running sequence is older than every waiting one; when
blocks run out the youngest gives up its own, so the oldest always goes on and nothing starves.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass

from worker.scheduling.block_manager import BlockManager
from worker.scheduling.plan import Outcome, Plan, Slice, StepResult
from worker.scheduling.sequence import Sequence

MAX_OUTSTANDING = 2


@dataclass(frozen=True, slots=True)
class Limits:
    max_running: int
    step_tokens: int
    """Most positions that one step computes."""
    blocks: int
    block_tokens: int

    def __post_init__(self) -> None:
        if min(self.max_running, self.step_tokens, self.blocks, self.block_tokens) < 1:
            raise ValueError("every limit of the scheduler must be at least 1")
        if self.step_tokens < self.max_running:
            raise ValueError("the step budget must have a token for every running sequence")


class Scheduler:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.blocks = BlockManager(limits.blocks, limits.block_tokens)
        self.running: list[Sequence] = []
        """Oldest first."""
        self.waiting: list[Sequence] = []
        """Oldest first."""
        self._outstanding: deque[Plan] = deque()

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Raises:
            ValueError: the whole cache could not hold it.
        """
        if self.blocks.blocks_for(sequence.limit_tokens) > self.limits.blocks:
            raise ValueError(
                f"the sequence may grow to {sequence.limit_tokens} tokens; "
                f"the cache holds {self.limits.blocks * self.limits.block_tokens}"
            )
        insort(self.waiting, sequence, key=_age)

    def cancel(self, sequence: Sequence) -> None:
        """Forget a sequence now; what outstanding plans compute for it is dropped."""
        self._end(sequence)

    def plan(self, now: float) -> Plan | None:
        """The next step; None when there is nothing to compute. `now` is any clock, in seconds.

        Raises:
            RuntimeError: two plans are outstanding.
        """
        if len(self._outstanding) >= MAX_OUTSTANDING:
            raise RuntimeError("commit a plan before making a third")
        fresh = self._make_room()
        slices = self._slice_running()
        budget = self.limits.step_tokens - sum(part.count for part in slices)
        slices += self._admit(budget, fresh)
        if not slices:
            return None
        plan = Plan(now, tuple(slices), tuple(fresh))
        self._outstanding.append(plan)
        return plan

    def commit(self, result: StepResult) -> list[Outcome]:
        """Take the result of the oldest outstanding plan."""
        outcomes = []
        for part in self._outstanding.popleft().slices:
            sequence = part.sequence
            if sequence.finished or sequence.epoch != part.epoch:
                continue
            failure = result.failures.get(sequence.sequence_id, "")
            if failure:
                self._end(sequence)
                outcomes.append(Outcome(sequence, [], failure=failure))
            elif part.samples:
                outcomes.append(self._accept(part, result.sampled[sequence.sequence_id]))
        return outcomes

    @property
    def pending_tokens(self) -> int:
        """Upper bound of the positions that the next plan computes."""
        running = sum(sequence.pending_tokens for sequence in self.running)
        waiting = sum(len(sequence.tokens) for sequence in self.waiting)
        return min(self.limits.step_tokens, running + waiting)

    def _accept(self, part: Slice, sampled: list[int]) -> Outcome:
        sequence = part.sequence
        sequence.awaited_tokens -= 1
        tokens, stopped = sequence.append(sampled)
        if sequence.finished:
            self._end(sequence)
        elif sequence.awaited_tokens and len(sampled) != 1:
            sequence.rewind(part.start + part.count)
        return Outcome(sequence, tokens, stopped)

    def _make_room(self) -> list[int]:
        """Give every running sequence blocks for what it knows, oldest first; returns new ones."""
        fresh: list[int] = []
        for sequence in list(self.running):
            while sequence in self.running:
                missing = self.blocks.missing(sequence, sequence.expected_tokens)
                if not sequence.pending_tokens or missing <= self.blocks.free_blocks:
                    break
                self._preempt(self.running[-1])
            if sequence in self.running and sequence.pending_tokens:
                fresh += self.blocks.grow(sequence, sequence.expected_tokens)
        return fresh

    def _slice_running(self) -> list[Slice]:
        """Decodes, then prefill chunks in what is left of the budget; both oldest first."""
        budget = self.limits.step_tokens
        slices = []
        for sequence in sorted(self.running, key=lambda each: each.pending_tokens > 1):
            count = min(sequence.pending_tokens, budget)
            if count:
                slices.append(_slice(sequence, count))
                budget -= count
        return slices

    def _admit(self, budget: int, fresh: list[int]) -> list[Slice]:
        """Start waiting sequences, oldest first, while budget, places and blocks last."""
        slices = []
        for sequence in list(self.waiting):
            if budget == 0 or len(self.running) >= self.limits.max_running:
                break
            if sequence.pending_tokens == 0:
                continue
            # Blocks for all it knows, so that prefills do not take blocks from one another.
            missing = self.blocks.missing(sequence, sequence.expected_tokens)
            if missing > self.blocks.free_blocks:
                break
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=_age)
            fresh += self.blocks.grow(sequence, sequence.expected_tokens)
            count = min(sequence.pending_tokens, budget)
            slices.append(_slice(sequence, count))
            budget -= count
        return slices

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.blocks.release(sequence)
        sequence.restart()
        insort(self.waiting, sequence, key=_age)

    def _end(self, sequence: Sequence) -> None:
        sequence.finished = True
        for queue in (self.running, self.waiting):
            if sequence in queue:
                queue.remove(sequence)
        self.blocks.release(sequence)


def _age(sequence: Sequence) -> int:
    return sequence.sequence_id


def _slice(sequence: Sequence, count: int) -> Slice:
    """Note in the sequence that its next `count` positions are on their way."""
    start = sequence.computed_tokens
    sequence.computed_tokens += count
    samples = sequence.computed_tokens == sequence.expected_tokens
    sequence.awaited_tokens += samples
    table = tuple(sequence.block_table)
    return Slice(sequence, start, count, samples, sequence.epoch, table)
