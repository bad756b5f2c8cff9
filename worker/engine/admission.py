"""Whether a job can run here at all, and the sequence that it becomes."""

from __future__ import annotations

import math

from infra.wire import JobSpec, Sampling
from worker.scheduling.sequence import Sequence


class Unrunnable(ValueError):
    """A job that no attempt on this model could run; the message is for the client."""


def check_job(job: JobSpec, vocabulary: int, max_context_tokens: int) -> None:
    """Raises `Unrunnable` with what is wrong with the job."""
    if not job.prompt:
        raise Unrunnable("the prompt is empty")
    if len(job.prompt) >= max_context_tokens:
        raise Unrunnable(
            f"the prompt has {len(job.prompt)} tokens; with at least one token of output, "
            f"this deployment takes at most {max_context_tokens - 1}"
        )
    for token in (*job.prompt, *job.delivered):
        if not 0 <= token < vocabulary:
            raise Unrunnable(f"token id {token} is outside of the vocabulary of {vocabulary}")
    problem = _sampling_problem(job.sampling)
    if problem:
        raise Unrunnable(problem)


def sequence_of(
    job: JobSpec, sequence_id: int, max_context_tokens: int, eos_tokens: frozenset[int]
) -> Sequence:
    """Delivered tokens are output already: `max_tokens` counts them."""
    stop_tokens = frozenset(job.sampling.stop_token_ids)
    if not job.sampling.ignore_eos:
        stop_tokens |= eos_tokens
    return Sequence(
        sequence_id=sequence_id,
        tokens=[*job.prompt, *job.delivered],
        prompt_tokens=len(job.prompt),
        limit_tokens=min(len(job.prompt) + job.sampling.max_tokens, max_context_tokens),
        stop_tokens=stop_tokens,
    )


def _sampling_problem(sampling: Sampling) -> str:
    if sampling.max_tokens < 1:
        return f"max_tokens must be at least 1, not {sampling.max_tokens}"
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        return f"temperature must be a number of at least 0, not {sampling.temperature}"
    if not 0 < sampling.top_p <= 1:
        return f"top_p must be above 0 and at most 1, not {sampling.top_p}"
    if sampling.top_k < 0:
        return f"top_k must be at least 0, not {sampling.top_k}"
    return ""
