"""Whether sampling settings mean anything: the worker's own look, whatever a gateway has let by."""

from __future__ import annotations

import math

from infra.wire import Sampling

MAX_BIAS = 1e4
"""Far beyond any logit, far below what would not be finite any more."""


class Unrunnable(ValueError):
    """A job that no attempt on this model could run; the message is for the client."""


def check_sampling(sampling: Sampling, vocabulary: int) -> None:
    """Raises `Unrunnable` with what is wrong."""
    if sampling.max_tokens < 1:
        raise Unrunnable(f"max_tokens must be at least 1, not {sampling.max_tokens}")
    if not 0 <= sampling.min_tokens <= sampling.max_tokens:
        raise Unrunnable(
            f"min_tokens must be at least 0 and at most max_tokens ({sampling.max_tokens}), "
            f"not {sampling.min_tokens}"
        )
    _check_draw(sampling)
    _check_penalties(sampling)
    _check_tokens(sampling, vocabulary)
    if sampling.grammar is not None and sampling.ignore_eos:
        raise Unrunnable("ignore_eos would go on where a grammar has ended: leave one of them out")
    for name in ("logprobs", "prompt_logprobs"):
        count = getattr(sampling, name)
        if not -1 <= count <= vocabulary:
            raise Unrunnable(f"{name} must be at least -1 and at most {vocabulary}, not {count}")


def _check_draw(sampling: Sampling) -> None:
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise Unrunnable(f"temperature must be a number of at least 0, not {sampling.temperature}")
    if not 0 < sampling.top_p <= 1:
        raise Unrunnable(f"top_p must be above 0 and at most 1, not {sampling.top_p}")
    if sampling.top_k < 0:
        raise Unrunnable(f"top_k must be at least 0, not {sampling.top_k}")
    if not 0 <= sampling.min_p <= 1:
        raise Unrunnable(f"min_p must be at least 0 and at most 1, not {sampling.min_p}")


def _check_penalties(sampling: Sampling) -> None:
    for name in ("presence_penalty", "frequency_penalty"):
        value = getattr(sampling, name)
        if not abs(value) <= MAX_BIAS:
            raise Unrunnable(f"{name} must be between {-MAX_BIAS:g} and {MAX_BIAS:g}, not {value}")
    if not 1 / MAX_BIAS <= sampling.repetition_penalty <= MAX_BIAS:
        raise Unrunnable(
            f"repetition_penalty must be between {1 / MAX_BIAS:g} and {MAX_BIAS:g} (1 is none), "
            f"not {sampling.repetition_penalty}"
        )


def _check_tokens(sampling: Sampling, vocabulary: int) -> None:
    for token in sampling.stop_token_ids:
        if not 0 <= token < vocabulary:
            raise Unrunnable(
                f"stop_token_ids: token id {token} is outside of the vocabulary of {vocabulary}"
            )
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < vocabulary:
            raise Unrunnable(
                f"logit_bias: token id {token} is outside of the vocabulary of {vocabulary}"
            )
        if not abs(bias) <= MAX_BIAS:
            raise Unrunnable(
                f"logit_bias of token {token} must be between {-MAX_BIAS:g} and {MAX_BIAS:g}, "
                f"not {bias}"
            )
