"""Continuous batching with chunked prefill (Orca, Sarathi-Serve): plan a step, commit its result.

Plans run in the order they were made. At most two are outstanding, so that the next step can be
planned while the current one runs.

Whoever has the smaller rank goes first. When blocks run out the running sequence of the greatest
rank gives up its own, never for one of a greater rank: so the first always goes on. A rank never
changes and only finitely many are smaller, so nothing starves: a lower priority lets a fixed number
of later arrivals pass, and no more.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from worker.scheduling.block_manager import BlockManager
from worker.scheduling.draft import Draft
from worker.scheduling.limits import Limits
from worker.scheduling.plan import Outcome, Plan, Slice, StepResult
from worker.scheduling.preemption import HostMemory
from worker.scheduling.prefix_tree import Node
from worker.scheduling.sequence import Sequence

__all__ = ["Limits", "Scheduler"]

MAX_OUTSTANDING = 2
MOST_DEFERRED = 32
"""How many waiting sequences one plan may pass over."""


class Scheduler:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.blocks = BlockManager(limits.blocks, limits.block_tokens, limits.prefix_cache)
        self.host = HostMemory(limits.host_blocks, limits.block_tokens)
        self.running: list[Sequence] = []
        """Smallest rank first."""
        self.waiting: list[Sequence] = []
        """Smallest rank first."""
        self.prefix_queried_tokens = 0
        """Positions of sequences that first started and would take them from the prefix cache."""
        self.prefix_hit_tokens = 0
        """How many of these were in the prefix cache."""
        self.preemptions = 0
        self._outstanding: deque[Plan] = deque()

    @property
    def outstanding(self) -> int:
        """Plans that are not committed."""
        return len(self._outstanding)

    @property
    def pending_tokens(self) -> int:
        """Upper bound of the positions that the next plan computes."""
        most, tokens = self.limits.step_tokens, 0
        for queue in (self.waiting, self.running):
            for sequence in queue:
                tokens += sequence.pending_tokens
                if tokens >= most:
                    return most
        return tokens

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
        insort(self.waiting, sequence, key=_rank)

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
        draft = Draft(self.limits.step_tokens)
        self._continue_running(draft)
        self._admit(draft)
        if not draft.slices:
            return None
        plan = draft.plan(now)
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

    # --- a step that was run ---

    def _accept(self, part: Slice, sampled: list[int]) -> Outcome:
        sequence = part.sequence
        sequence.awaited_tokens -= 1
        tokens, stopped = sequence.append(sampled)
        if part.residence == sequence.residence:
            # Only now: finite logits are the proof that no position before them went wrong.
            proven = sequence.proven_tokens = part.start + part.count
            if proven // self.limits.block_tokens > len(sequence.shared_path):
                self.blocks.share(sequence)
        if sequence.finished:
            self._end(sequence)
        elif sequence.awaited_tokens and len(sampled) != 1:
            sequence.rewind(part.start + part.count)
        return Outcome(sequence, tokens, stopped)

    def _end(self, sequence: Sequence) -> None:
        sequence.finished = True
        _remove(self.running, sequence)
        _remove(self.waiting, sequence)
        self.host.give_back(sequence)
        self.blocks.release(sequence)

    # --- the next step ---

    def _continue_running(self, draft: Draft) -> None:
        """Decodes, then prefill chunks in what is left of the budget, and in the way of decodes no
        more than is allowed."""
        block_tokens = self.limits.block_tokens
        chunks = []
        # Preemption shortens the list behind the sequence that is looked at.
        for sequence in self.running:
            pending = sequence.pending_tokens
            if not pending:
                continue
            room = len(sequence.block_table) * block_tokens
            if sequence.expected_tokens > room and not self._make_room(sequence, draft):
                continue
            if pending == 1:
                draft.compute(sequence, 1)
            else:
                chunks.append(sequence)
        if draft.slices and self.limits.mixed_prefill_tokens is not None:
            draft.budget_tokens = min(draft.budget_tokens, self.limits.mixed_prefill_tokens)
        for sequence in chunks:
            draft.compute(sequence, sequence.pending_tokens)

    def _make_room(self, sequence: Sequence, draft: Draft) -> bool:
        """Give a running sequence blocks for what it knows, at the cost of those of greater rank.

        Where that is not enough it keeps what it has, and lets this step pass.
        """
        while self.blocks.missing(sequence, sequence.expected_tokens) > self.blocks.free_blocks:
            if self.running[-1] is sequence:
                return False
            self._preempt(draft)
        draft.fresh_blocks += self.blocks.grow(sequence, sequence.expected_tokens)
        return True

    def _preempt(self, draft: Draft) -> None:
        sequence = self.running.pop()
        slots = self.host.take_in(sequence)
        draft.swap_out += zip(sequence.block_table, slots, strict=False)
        self.blocks.release(sequence)
        sequence.leave(slots)
        insort(self.waiting, sequence, key=_rank)
        self.preemptions += 1

    def _admit(self, draft: Draft) -> None:
        """Start waiting sequences while budget, places and blocks last; the first that does not fit
        holds its place."""
        passed, under_way = 0, None
        while passed < min(len(self.waiting), MOST_DEFERRED):
            if not draft.budget_tokens or len(self.running) >= self.limits.max_running:
                break
            if under_way is None:
                under_way = self._prefixes_under_way()
            sequence = self.waiting[passed]
            path = self.blocks.cached_prefix(sequence)
            if not sequence.pending_tokens or _next_digest(sequence, path) in under_way:
                passed += 1
                continue
            # Who was preempted would be again, at once, without a block for each who runs.
            spare = len(self.running) if sequence.residence else 0
            # Blocks for all it knows, so that prefills do not take blocks from one another.
            if not self.blocks.fits(sequence, path, spare):
                break
            del self.waiting[passed]
            self._start(sequence, path, draft)
            under_way |= self._prefix_under_way(sequence)

    def _start(self, sequence: Sequence, path: list[Node], draft: Draft) -> None:
        insort(self.running, sequence, key=_rank)
        if not sequence.residence and sequence.reuse_prefix and self.limits.prefix_cache:
            self.prefix_queried_tokens += len(sequence.tokens)
            self.prefix_hit_tokens += len(path) * self.limits.block_tokens
        self.blocks.attach(sequence, path)
        fresh = self.blocks.grow(sequence, sequence.expected_tokens)
        kept = self.blocks.blocks_for(sequence.computed_tokens)
        returning = list(zip(sequence.host_slots[:kept], sequence.block_table, strict=False))
        draft.swap_in += returning[len(path) :]
        draft.fresh_blocks += fresh[len(returning[len(path) :]) :]
        self.host.give_back(sequence)
        draft.compute(sequence, sequence.pending_tokens)

    def _prefixes_under_way(self) -> set[bytes]:
        """Blocks that running prefills are about to leave in the cache: a sequence that would
        compute the same waits for them, since that is cheaper than computing it beside them."""
        return set().union(*(self._prefix_under_way(each) for each in self.running))

    def _prefix_under_way(self, sequence: Sequence) -> set[bytes]:
        shared = len(sequence.shared_path)
        full = (len(sequence.tokens) - 1) // self.limits.block_tokens
        if shared >= full or not self.limits.prefix_cache:
            return set()
        return {self.blocks.digests(sequence, shared + 1)[shared]}


def _rank(sequence: Sequence) -> tuple[int, int]:
    return sequence.rank


def _remove(queue: list[Sequence], sequence: Sequence) -> None:
    index = bisect_left(queue, sequence.rank, key=_rank)
    if index < len(queue) and queue[index] is sequence:
        del queue[index]


def _next_digest(sequence: Sequence, path: list[Node]) -> bytes:
    """The hash of the first block that is not cached; empty where nobody else could leave it."""
    if not sequence.reuse_prefix or sequence.host_slots or len(path) >= len(sequence.digests):
        return b""
    return sequence.digests[len(path)]
