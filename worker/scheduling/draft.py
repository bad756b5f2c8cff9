"""A plan while it is being made."""

from __future__ import annotations

from worker.scheduling.plan import Plan, Slice
from worker.scheduling.sequence import Sequence


class Draft:
    """Collects slices within a budget, and what must be done to blocks before they run."""

    def __init__(self, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens
        self.slices: list[Slice] = []
        self.fresh_blocks: list[int] = []
        self.swap_out: list[tuple[int, int]] = []
        self.swap_in: list[tuple[int, int]] = []

    def compute(self, sequence: Sequence, tokens: int) -> None:
        """Put the next `tokens` positions of a sequence on their way, as far as the budget goes."""
        count = min(tokens, self.budget_tokens)
        if not count:
            return
        self.budget_tokens -= count
        start = sequence.computed_tokens
        sequence.computed_tokens = end = start + count
        samples = end == len(sequence.tokens) + sequence.awaited_tokens
        sequence.awaited_tokens += samples
        self.slices.append(
            Slice(
                sequence,
                start,
                count,
                samples,
                sequence.epoch,
                sequence.residence,
                sequence.block_table,
            )
        )

    def plan(self, now: float) -> Plan:
        return Plan(
            now,
            tuple(self.slices),
            tuple(self.fresh_blocks),
            tuple(self.swap_out),
            tuple(self.swap_in),
        )
