"""Declared log-probabilities: each token has its own, so whoever carries them can be judged."""

from __future__ import annotations

from collections.abc import Iterable

from infra.wire import TokenLogprob

_STEPS = 97


def declared_logprob(token: int) -> float:
    """Between 0 and -1; exact in binary, so that no format rounds it."""
    return -(token % _STEPS) / 128


def declared(tokens: Iterable[int], top: int) -> list[TokenLogprob]:
    """One for each token; the token itself and its successors stand for the likeliest ones."""
    return [TokenLogprob(declared_logprob(token), _likeliest(token, top)) for token in tokens]


def _likeliest(token: int, top: int) -> list[tuple[int, float]]:
    return [(token + rank, declared_logprob(token) - rank) for rank in range(top)]
