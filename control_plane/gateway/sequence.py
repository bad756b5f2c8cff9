"""One choice of a request: the tokens of its job, as text for the client (no I/O)."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import msgspec

from control_plane.gateway.delivery import Delivery, News
from control_plane.gateway.display import Display, Piece
from control_plane.gateway.text_models import TextModel
from control_plane.gateway.transcript import PromptLogprob, Transcript
from infra.states import JobState
from infra.wire import FinishReason, JobSpec, TokenEvent, TokenLogprob

Finish = Literal["stop", "length", "tool_calls"]
"""A sequence stops or runs out of tokens; that a stop was a call is seen in its text."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a sequence ended: its job's final state, and why where that is not `completed`."""

    outcome: JobState
    finish: Finish | None = None
    reason: str = ""
    retry_helps: bool = False


class Sequence:
    """Everything the gateway knows of one job; `on_news` is called after each change."""

    def __init__(
        self,
        revision_id: str,
        spec: JobSpec,
        text: TextModel,
        display: Display,
        on_news: Callable[[], None],
        *,
        durable: bool = False,
    ) -> None:
        """A durable sequence is settled by whoever writes its log."""
        self.revision_id = revision_id
        self.spec = spec
        self.delivery = Delivery(spec.sampling.max_tokens)
        self.ending: Ending | None = None
        self.output_tokens = 0
        """Tokens that count for usage: those up to the stop string, if one was met."""
        self.first_token_at_s: float | None = None
        """On this process's monotonic clock."""
        self.replica_id = ""
        """Who spoke last."""
        self.durable = durable
        self._display = display
        self._transcript = Transcript(text, display)
        self._begun = False
        self._on_news = on_news

    @property
    def job_id(self) -> str:
        return self.spec.job_id

    @property
    def identity(self) -> dict[str, str | int]:
        """What a line of the log says of whom it speaks."""
        return {
            "request_id": self.spec.request_id,
            "job_id": self.spec.job_id,
            "attempt": self.delivery.attempt,
            "replica_id": self.replica_id,
            "revision_id": self.revision_id,
        }

    def take(self, event: TokenEvent, replica_id: str = "") -> News:
        """Take an event of the token stream; `ENDED` means that the job is to be settled."""
        if self.ending is not None:
            return News.NOTHING
        accepted = self.delivery.accept(event, replica_id)
        if accepted.news is News.NOTHING:
            return News.NOTHING
        self.replica_id = replica_id
        if accepted.tokens or accepted.news is not News.LOST:
            self._begin()
        self._append(accepted.tokens, accepted.logprobs)
        if self.ending is None and self.delivery.finish is not None:
            self._finish(self.delivery.finish)
        self._on_news()
        return News.ENDED if self.ending is not None else accepted.news

    def restore(self, tokens: Seq[int], logprobs: Seq[TokenLogprob]) -> None:
        """Take what an entry in the log of a durable job says was delivered; what that shows is in
        the log too."""
        told: list[TokenLogprob | None] = [*logprobs]
        told += [None] * (len(tokens) - len(told))
        self.delivery.extend(tokens, told)
        self._begin()
        self._append(tokens, told)
        self._transcript.drain()

    def end(self, ending: Ending) -> bool:
        """End for a reason that is not in the token stream; False if it had ended already."""
        if self.ending is not None:
            return False
        self.ending = ending
        self._on_news()
        return True

    def drain(self) -> Piece:
        """What came since the last call."""
        return self._transcript.drain()

    @property
    def shows_logprobs(self) -> bool:
        return self._display.logprobs

    @property
    def prompt_logprobs(self) -> list[PromptLogprob | None]:
        """As far as the replica has told them."""
        told = self.delivery.prompt_logprobs
        return self._transcript.prompt_logprobs(self.spec.prompt, told) if told else []

    @property
    def mean_logprob(self) -> float:
        """Of the tokens that count; where there is none, the model was certain of its end."""
        told = self.delivery.logprobs[: self.output_tokens]
        return fmean(each.logprob for each in told if each is not None) if any(told) else 0.0

    def next_spec(self) -> JobSpec:
        """The job as its next attempt needs it."""
        return msgspec.structs.replace(self.spec, delivered=list(self.delivery.tokens))

    def _begin(self) -> None:
        if self._display.echo and not self._begun:
            self._transcript.echo(self.spec.prompt, self.delivery.prompt_logprobs)
        self._begun = True

    def _append(self, tokens: Seq[int], logprobs: Seq[TokenLogprob | None]) -> None:
        if self.first_token_at_s is None and tokens:
            self.first_token_at_s = time.monotonic()
        if self._display.prompt_only:
            return
        for token, logprob in zip(tokens, logprobs, strict=True):
            self.output_tokens += 1
            may_stop = self.output_tokens > self.spec.sampling.min_tokens
            self._transcript.push(token, logprob, may_stop=may_stop)
            if self._transcript.stopped:
                self.ending = Ending(JobState.COMPLETED, "stop")
                return

    def _finish(self, finish: FinishReason) -> None:
        self._transcript.finish()
        if self._transcript.stopped:
            self.ending = Ending(JobState.COMPLETED, "stop")
            return
        if finish is FinishReason.ERROR:
            self.ending = Ending(JobState.FAILED, reason=self.delivery.error)
        else:
            at_limit = finish is FinishReason.LENGTH or self._display.prompt_only
            self.ending = Ending(JobState.COMPLETED, "length" if at_limit else "stop")
