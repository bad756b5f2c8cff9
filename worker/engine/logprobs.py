"""Log-probabilities on their way from tensors to the wire."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from infra.wire import TokenLogprob
from worker.kernels.logprobs import Likelihoods, likelihoods
from worker.kernels.upload import upload
from worker.scheduling.plan import Slice

NOT_TOLD = -1
TILE_ROWS = 64
"""Logits of a prompt are computed for so many rows at once: a tile of a vocabulary of 256k takes
64 MiB."""


def read_logprobs(found: Likelihoods, counts: list[int]) -> list[TokenLogprob]:
    """One for each row, with as many of the likeliest tokens as `counts` says."""
    of_tokens: list[float] = found.of_tokens.tolist()
    tokens: list[list[int]] = found.top_tokens.tolist()
    values: list[list[float]] = found.top.tolist()
    ranks: list[int] = found.ranks.tolist()
    return [
        TokenLogprob(
            of_tokens[row],
            list(zip(tokens[row][:count], values[row][:count], strict=True)),
            ranks[row],
        )
        for row, count in enumerate(counts)
    ]


def are_finite(told: Sequence[TokenLogprob | None]) -> bool:
    return all(each is None or math.isfinite(each.logprob) for each in told)


class PromptLogprobs:
    """Those of one prompt; the first token, which nothing comes before, has none.

    `plan` is called as steps are planned, the others as they run, each in the same order.
    """

    def __init__(self, count: int) -> None:
        """`count`: how many of the likeliest tokens are told with each."""
        self.complete = False
        """Whether the step that hands them out is planned."""
        self._count = count
        self._planned = 1
        """Tokens of the prompt that are dealt with once every plan has run."""
        self._found: list[Likelihoods] = []

    def plan(self, part: Slice) -> tuple[int, list[int]]:
        """How many rows of a slice to skip, and the tokens that the rows after these predict.

        A sequence that lost its cache computes its prompt again: what is known is skipped.
        """
        first = self._planned
        tokens = part.sequence.tokens
        end = min(part.start + part.count + 1, part.sequence.prompt_tokens)
        self._planned = max(first, end)
        return first - 1 - part.start, tokens[first:end]

    def extend(self, hidden: Tensor, targets: list[int], head: Callable[[Tensor], Tensor]) -> None:
        """Take further rows.

        Args:
            hidden: [targets, width], of the rows that predict them.
            head: hidden states to logits, [rows, width] -> [rows, vocabulary].
        """
        wanted = upload(targets, torch.int64, hidden.device)
        for first in range(0, len(targets), TILE_ROWS):
            rows, tokens = hidden[first : first + TILE_ROWS], wanted[first : first + TILE_ROWS]
            self._found.append(likelihoods(head(rows), tokens, self._count))

    def hand_out(self) -> list[TokenLogprob | None]:
        """All of them; waits for the steps that computed them."""
        told: list[TokenLogprob | None] = [None]
        for found in self._found:
            told += read_logprobs(found, [self._count] * len(found.of_tokens))
        self._found.clear()
        return told
