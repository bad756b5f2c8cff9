"""One sequence of a paced engine: its context, and how far it is."""

from __future__ import annotations

from infra.wire import FinishReason, JobSpec, TokenEvent, TokenLogprob
from loadtests.paced.context_hash import ContextHash, ends
from loadtests.paced.logprobs import declared


class Sequence:
    def __init__(
        self, job: JobSpec, attempt: int, vocabulary: range, eos_every: int, max_context_tokens: int
    ) -> None:
        self.job_id = job.job_id
        self.prompt_tokens = len(job.prompt) + len(job.delivered)
        """Tokens to prefill: those delivered by earlier attempts are prompt to this one."""
        self._attempt = attempt
        self._sampling = job.sampling
        self._eos_every = 0 if job.sampling.ignore_eos else eos_every
        self._context = ContextHash([*job.prompt, *job.delivered], vocabulary)
        self._output_tokens = len(job.delivered)
        self._prompt: list[TokenLogprob | None] = []
        """What is told of the prompt, with the first tokens of the first attempt."""
        if job.sampling.prompt_logprobs >= 0 and not job.delivered:
            self._prompt = [None, *declared(job.prompt[1:], job.sampling.prompt_logprobs)]
        self._limit_tokens = min(job.sampling.max_tokens, max_context_tokens - len(job.prompt))
        self.reserved_tokens = len(job.prompt) + self._limit_tokens
        self.context_tokens = self.prompt_tokens

    def advance(self, count: int) -> TokenEvent:
        """Up to `count` further tokens, fewer where the sequence ends."""
        index, sampling = self._output_tokens, self._sampling
        tokens: list[int] = []
        finish = self._finish_before_next()
        while finish is None and len(tokens) < count:
            token = self._context.next()
            if token in sampling.stop_token_ids:
                finish = FinishReason.STOP
                break
            tokens.append(token)
            self._output_tokens += 1
            finish = self._finish_before_next()
        self.context_tokens += len(tokens)
        told = declared(tokens, sampling.logprobs) if sampling.logprobs >= 0 else []
        prompt, self._prompt = self._prompt, []
        return TokenEvent(
            self.job_id, self._attempt, index, tokens, finish, logprobs=told, prompt_logprobs=prompt
        )

    def _finish_before_next(self) -> FinishReason | None:
        if self._output_tokens >= self._limit_tokens:
            return FinishReason.LENGTH
        if ends(self._context, self._eos_every):
            return FinishReason.STOP
        return None
