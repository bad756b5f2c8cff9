"""Which tokens of a job have been delivered, over all its attempts (pure).

A token event is (job, attempt, index). Only the current attempt may speak and only with the next
index, so whatever replicas, retries and lost messages do, each index is delivered at most once and
in order (DESIGN promises 2 and 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from infra.wire import FinishReason, TokenEvent, TokenLogprob


class News(Enum):
    """What an event meant for the job."""

    NOTHING = auto()
    """An old attempt, a repeat, or a job that has ended."""
    TOKENS = auto()
    ENDED = auto()
    """The attempt ended the job; `finish` says how. There may be new tokens as well."""
    LOST = auto()
    """The attempt cannot go on (a gap, or its replica gave the job back): offer the job again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    news: News
    tokens: tuple[int, ...] = ()
    """Tokens nobody has seen before, in order."""
    logprobs: tuple[TokenLogprob | None, ...] = ()
    """One for each of them."""


_NOTHING = Accepted(News.NOTHING)


class Delivery:
    """`max_tokens` bounds what it will ever hold."""

    def __init__(self, max_tokens: int) -> None:
        self.attempt = 1
        """The only attempt that is listened to."""
        self.offered = True
        """False from the end of an attempt until the queue has taken the job back."""
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob | None] = []
        """One for each of `tokens`; None where the replica told none."""
        self.prompt_logprobs: list[TokenLogprob | None] = []
        self.finish: FinishReason | None = None
        self.error = ""
        self._speaker = ""
        """The replica that runs the current attempt, once it was heard."""
        self._max_tokens = max_tokens

    def accept(self, event: TokenEvent, replica_id: str = "") -> Accepted:
        """Take what is new in an event."""
        if self.finish is not None or event.attempt != self.attempt:
            return _NOTHING
        known = len(self.tokens)
        if event.index < 0 or event.index + len(event.tokens) < known:
            return _NOTHING
        # Only the queue can have started this attempt, even where its reply has not come yet.
        self.offered = True
        if event.index > known or self._speaker not in ("", replica_id):
            # A gap; or a Redis that came back with older data has leased the attempt again.
            return Accepted(News.LOST)
        self._speaker = replica_id
        room = self._max_tokens - known
        fresh = tuple(event.tokens[known - event.index :][:room])
        told: list[TokenLogprob | None] = [*event.logprobs[known - event.index :][:room]]
        told += [None] * (len(fresh) - len(told))
        self.extend(fresh, told)
        self.prompt_logprobs = self.prompt_logprobs or event.prompt_logprobs
        return replace(self._conclude(event, fresh), logprobs=tuple(told))

    def extend(self, tokens: Sequence[int], logprobs: Sequence[TokenLogprob | None]) -> None:
        """Add to what is delivered."""
        self.tokens.extend(tokens)
        self.logprobs.extend(logprobs)

    def _conclude(self, event: TokenEvent, fresh: tuple[int, ...]) -> Accepted:
        full = len(self.tokens) >= self._max_tokens
        if event.finish is FinishReason.RELEASED and not full:
            return Accepted(News.LOST, fresh)
        if event.finish is FinishReason.ERROR:
            self.finish, self.error = FinishReason.ERROR, event.error or "the engine gave no reason"
        elif event.finish is FinishReason.STOP:
            self.finish = FinishReason.STOP
        elif full or event.finish is FinishReason.LENGTH:
            self.finish = FinishReason.LENGTH
        if self.finish is not None:
            return Accepted(News.ENDED, fresh)
        return Accepted(News.TOKENS, fresh) if fresh else _NOTHING

    def end_attempt(self, attempt: int) -> bool:
        """Stop listening to an attempt; the next one is now current, and must be offered.

        Returns False where `attempt` is not one whose end is still to be answered with an offer.
        """
        if self.finish is not None:
            return False
        if attempt == self.attempt:
            self.attempt += 1
            self.offered = False
            self._speaker = ""
            return True
        return attempt == self.attempt - 1 and not self.offered

    def resume(self, attempt: int) -> None:
        """Go on where another consumer stopped, with the newest attempt that the queue knows."""
        self.attempt, self.offered = attempt, True

    def begin_attempt(self, attempt: int) -> None:
        """The queue has taken the job back and gave this number to the next attempt."""
        if attempt >= self.attempt:
            self.attempt = attempt
            self.offered = True

    def is_past(self, attempt: int) -> bool:
        """Whether the queue is known to have replaced this attempt."""
        return self.offered and attempt < self.attempt
