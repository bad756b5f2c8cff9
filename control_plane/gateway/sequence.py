"""One choice of a request: the tokens of its job, as text for the client (no I/O)."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Literal

from control_plane.gateway.delivery import Delivery, News
from control_plane.gateway.detokenizer import Detokenizer
from control_plane.gateway.stop_strings import StopStrings
from infra.states import JobState
from infra.wire import FinishReason, JobSpec, TokenEvent

Finish = Literal["stop", "length"]


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
        detokenizer: Detokenizer,
        stops: Seq[str],
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
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops)
        self._text: list[str] = []
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
        self._append(accepted.tokens)
        if self.ending is None and self.delivery.finish is not None:
            self._finish(self.delivery.finish)
        self._on_news()
        return News.ENDED if self.ending is not None else accepted.news

    def restore(self, tokens: Seq[int]) -> None:
        """Take what the log of a durable job says was delivered; its text is in the log too."""
        self.delivery.tokens.extend(tokens)
        self._append(tokens)
        self._text.clear()

    def end(self, ending: Ending) -> bool:
        """End for a reason that is not in the token stream; False if it had ended already."""
        if self.ending is not None:
            return False
        self.ending = ending
        self._on_news()
        return True

    def drain(self) -> str:
        """The text that came since the last call."""
        text = "".join(self._text)
        self._text.clear()
        return text

    def next_spec(self) -> JobSpec:
        """The job as its next attempt needs it."""
        sent = self.spec
        return JobSpec(
            job_id=sent.job_id,
            request_id=sent.request_id,
            prompt=sent.prompt,
            sampling=sent.sampling,
            choice=sent.choice,
            delivered=list(self.delivery.tokens),
            traceparent=sent.traceparent,
        )

    def _append(self, tokens: Seq[int]) -> None:
        if self.first_token_at_s is None and tokens:
            self.first_token_at_s = time.monotonic()
        for token in tokens:
            self.output_tokens += 1
            self._show(self._stops.push(self._detokenizer.push(token)))
            if self._stops.stopped:
                self.ending = Ending(JobState.COMPLETED, "stop")
                return

    def _finish(self, finish: FinishReason) -> None:
        self._show(self._stops.push(self._detokenizer.flush()))
        if self._stops.stopped:
            self.ending = Ending(JobState.COMPLETED, "stop")
            return
        self._show(self._stops.flush())
        if finish is FinishReason.ERROR:
            self.ending = Ending(JobState.FAILED, reason=self.delivery.error)
        else:
            self.ending = Ending(
                JobState.COMPLETED, "length" if finish is FinishReason.LENGTH else "stop"
            )

    def _show(self, text: str) -> None:
        if text:
            self._text.append(text)
