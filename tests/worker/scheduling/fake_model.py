"""A model whose KV cache can be looked into: each entry is a hash of all before it, as it was read.

A wrong block, a lost write or an entry that was overwritten changes every token after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from worker.scheduling.plan import Plan, Slice, StepResult
from worker.scheduling.sequence import Sequence

NOT_FINITE = -1
VOCABULARY = 40
STOP = 4


def entry(before: int, token: int) -> int:
    """The KV entry of a token behind another entry; what follows a broken one is broken."""
    return NOT_FINITE if before == NOT_FINITE else hash((before, token)) & 0xFFFFFF


def context(salt: str, tokens: Iterable[int]) -> list[int]:
    """The entries of a whole context, and what is before it in front of them."""
    entries = [sum(salt.encode())]
    for token in tokens:
        entries.append(entry(entries[-1], token))
    return entries


def continuation(salt: str, tokens: list[int], count: int) -> list[int]:
    """The true next tokens."""
    known, last = len(tokens), context(salt, tokens)[-1]
    for _ in range(count):
        tokens = [*tokens, last % VOCABULARY]
        last = entry(last, tokens[-1])
    return tokens[known:]


class FakeModel:
    """Runs plans in their order, at any time after they were made.

    Args:
        faults: by sequence id, a position that it would compute wrongly.
    """

    def __init__(self, block_tokens: int, faults: Mapping[int, int] | None = None) -> None:
        self._block_tokens = block_tokens
        self._faults = {} if faults is None else faults
        self._blocks: dict[int, dict[int, int]] = {}
        self._host: dict[int, dict[int, int]] = {}
        self._sampled: dict[int, int] = {}
        """By sequence id: what the last step gave it, also where nobody has committed that yet."""

    def run(self, plan: Plan, news: Mapping[int, int] | None = None) -> StepResult:
        """Compute a plan.

        Args:
            news: by sequence id, how many tokens a slice gives (1).
        """
        for block, slot in plan.swap_out:
            self._host[slot] = dict(self._blocks.get(block, {}))
        for block in plan.fresh_blocks:
            self._blocks[block] = {}
        for slot, block in plan.swap_in:
            self._blocks[block] = dict(self._host[slot])
        last = {part.sequence.sequence_id: self._write(part) for part in plan.slices}
        sampled, failures = {}, {}
        for part in plan.slices:
            number = part.sequence.sequence_id
            if part.samples and last[number] == NOT_FINITE:
                failures[number] = "logits are NaN"
            elif part.samples:
                sampled[number] = self._sample(part, last[number], (news or {}).get(number, 1))
        self._sampled = {number: tokens[0] for number, tokens in sampled.items() if tokens}
        return StepResult(sampled, failures)

    def _write(self, part: Slice) -> int:
        """Fill the slice's positions from what is read before them; returns the last entry."""
        sequence = part.sequence
        before = sum(sequence.cache_salt.encode())
        if part.start:
            before = self._read(part, part.start - 1)
        if not sequence.finished and sequence.epoch == part.epoch:
            self._check(part)
        for position in range(part.start, part.start + part.count):
            before = entry(before, self._token(sequence, position))
            if self._faults.get(sequence.sequence_id) == position:
                before = NOT_FINITE
            self._blocks[part.block_table[position // self._block_tokens]][
                position % self._block_tokens
            ] = before
        return before

    def _check(self, part: Slice) -> None:
        """What is before the slice is what the sequence computed, or would have."""
        sequence = part.sequence
        truth = context(sequence.cache_salt, sequence.tokens[: part.start])
        broken_from = self._faults.get(sequence.sequence_id, part.start)
        for position in range(part.start):
            read = self._read(part, position)
            own_fault = read == NOT_FINITE and position >= broken_from
            assert own_fault or read == truth[position + 1], "a foreign KV entry"

    def _read(self, part: Slice, position: int) -> int:
        block, offset = divmod(position, self._block_tokens)
        return self._blocks[part.block_table[block]].get(offset, 0)

    def _token(self, sequence: Sequence, position: int) -> int:
        """What a sequence has there; an awaited token is what the step before gave."""
        if position < len(sequence.tokens):
            return sequence.tokens[position]
        return self._sampled.get(sequence.sequence_id, 0)

    def _sample(self, part: Slice, last: int, count: int) -> list[int]:
        tokens: list[int] = []
        for _ in range(count):
            tokens.append(last % VOCABULARY)
            last = entry(last, tokens[-1])
        return tokens
