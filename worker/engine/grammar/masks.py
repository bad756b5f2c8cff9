"""Which tokens the grammars of running sequences allow next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from llguidance import LLExecutor
from torch import Tensor

from worker.engine.grammar.matcher import GrammarBroken, Matcher
from worker.scheduling.plan import StepResult

_WORD_BITS = 32
_EVERY_TOKEN = -1


class GrammarMasks:
    """One matcher a sequence. `fill` before a step's tokens are chosen and `follow` with them are
    called in the order in which steps sample, whatever is planned ahead; `open` and `close` at any
    time and from another thread: a step that still runs treats a closed sequence as free.
    """

    def __init__(self, vocabulary: int, threads: int | None = None) -> None:
        """`threads` compute masks; by default as many as torch has."""
        self._words = -(-vocabulary // _WORD_BITS)
        self._threads = threads
        self._executor: LLExecutor | None = None
        self._matchers: dict[int, Matcher] = {}

    def open(self, sequence_id: int, matcher: Matcher) -> None:
        self._matchers[sequence_id] = matcher

    def close(self, sequence_id: int) -> None:
        """Forget a sequence; one without a grammar is no mistake."""
        self._matchers.pop(sequence_id, None)

    def hold(self, sequence_ids: Iterable[int]) -> bool:
        """Whether any of these sequences has a grammar."""
        return any(each in self._matchers for each in sequence_ids)

    def fill(self, rows: Sequence[tuple[int, int]]) -> Tensor | None:
        """The tokens that each row may choose from; None where no row has a grammar.

        Args:
            rows: (sequence id, index of the token in the sequence's output). An index that was
                filled before is chosen again: what followed was dropped.

        Returns:
            [rows, ceil(vocabulary / 32)] int32 on the CPU; bit i of a row is token i (the lowest
            bit of a word first). Rows without a grammar have every bit set.
        """
        constrained: list[tuple[Matcher, int]] = []
        for row, (sequence_id, index) in enumerate(rows):
            matcher = self._matchers.get(sequence_id)
            if matcher is not None:
                matcher.go_to(index)
                constrained.append((matcher, row))
        if not constrained:
            return None
        masks = torch.full((len(rows), self._words), _EVERY_TOKEN, dtype=torch.int32)
        self._compute(constrained, masks)
        return masks

    def follow(self, result: StepResult) -> StepResult:
        """Take the tokens of a step: what they bring, and who cannot go on."""
        sampled: dict[int, list[int]] = {}
        failures = dict(result.failures)
        for sequence_id, tokens in result.sampled.items():
            try:
                brought = [each for token in tokens for each in self.take(sequence_id, token)]
            except GrammarBroken as error:
                failures[sequence_id] = f"the output cannot be held to its grammar: {error}"
            else:
                sampled[sequence_id] = brought
        return replace(result, sampled=sampled, failures=failures)

    def take(self, sequence_id: int, token: int) -> list[int]:
        """Follow a token that was chosen. Returns the output that it brings: the token, and the end
        of the sequence where nothing else may follow.

        Raises:
            GrammarBroken: the sequence cannot go on.
        """
        matcher = self._matchers.get(sequence_id)
        if matcher is None:
            return [token]
        if matcher.error:  # then its mask was wrong, and the token is
            raise GrammarBroken(matcher.error)
        ended = matcher.ended
        matcher.take(token)
        return [token, matcher.end_token] if matcher.ended and not ended else [token]

    def _compute(self, matchers: Sequence[tuple[Matcher, int]], masks: Tensor) -> None:
        threads = self._threads or torch.get_num_threads()
        if len(matchers) == 1 or threads == 1:
            for matcher, row in matchers:
                target = masks[row]
                matcher.native.unsafe_compute_mask_ptr(target.data_ptr(), target.nbytes)
            return
        if self._executor is None:
            self._executor = LLExecutor(threads)
        self._executor.unsafe_compute_mask_ptr(
            [(matcher.native, row) for matcher, row in matchers],
            masks.data_ptr(),
            masks.stride(0) * masks.itemsize,
            len(masks),
        )
