"""Whether a job can run here at all, and the sequence that it becomes."""

from __future__ import annotations

from infra.wire import JobSpec
from worker.engine.sampling_checks import Unrunnable, check_sampling
from worker.engine.sampling_state import tells_prompt_logprobs
from worker.scheduling.sequence import Sequence

__all__ = ["Unrunnable", "check_job", "sequence_of"]


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
    check_sampling(job.sampling, vocabulary)


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
        reuse_prefix=not tells_prompt_logprobs(job),
        priority=job.priority,
        cache_salt=job.cache_salt,
    )
