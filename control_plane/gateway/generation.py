"""All sequences of one request, as one thing to wait for."""

from __future__ import annotations

import time
from types import TracebackType

from control_plane.gateway.answered import Answered
from control_plane.gateway.bell import Bell
from control_plane.gateway.consumer import Consumer
from control_plane.gateway.display import Display
from control_plane.gateway.metrics import RequestEnd, observe
from control_plane.gateway.sequence import Ending, Sequence
from control_plane.gateway.text_models import TextModel
from control_plane.http.connection import CLIENT_GONE
from infra.states import JobState
from infra.wire import JobSpec


class Generation:
    """Leaving the context ends every sequence that still runs: its client is gone, or has failed.

    Sequences are numbered as the client numbers its choices.
    """

    def __init__(
        self, consumer: Consumer, prompt_tokens: int, deployment: str, arrived_at_s: float
    ) -> None:
        """`arrived_at_s`: when the request came, on this process's monotonic clock."""
        self.sequences: list[Sequence] = []
        self.prompt_tokens = prompt_tokens
        self.deployment = deployment
        self.arrived_at_s = arrived_at_s
        self._consumer = consumer
        self._news = Bell()

    def add(
        self,
        revision_id: str,
        spec: JobSpec,
        text: TextModel,
        display: Display,
        *,
        durable: bool = False,
    ) -> Sequence:
        """One more choice."""
        sequence = Sequence(revision_id, spec, text, display, self.notify, durable=durable)
        self.sequences.append(sequence)
        return sequence

    def withdraw(self, accepted: int) -> None:
        """End the first ones; the rest never became jobs."""
        del self.sequences[accepted:]
        self.close()

    def notify(self) -> None:
        self._news.ring()

    async def wait(self, limit_s: float | None = None) -> bool:
        """Wait for news of any sequence; False when the time ran out."""
        return await self._news.wait(limit_s)

    async def finish(self) -> None:
        """Wait until all have ended, or one has not ended well."""
        while not self.ended and self.failure is None:
            await self.wait()

    @property
    def ended(self) -> bool:
        return all(sequence.ending is not None for sequence in self.sequences)

    @property
    def failure(self) -> Ending | None:
        """The first ending that is not `completed`."""
        for sequence in self.sequences:
            if sequence.ending is not None and sequence.ending.outcome is not JobState.COMPLETED:
                return sequence.ending
        return None

    def answers(self, group: int = 1, best: int = 1) -> list[Answered]:
        """What each choice has that was not drained before.

        Args:
            group: sequences of one prompt.
            best: how many of a group are choices, the best one first, where these are fewer.
        """
        chosen = list(self.sequences)
        if best < group:
            groups = [chosen[first : first + group] for first in range(0, len(chosen), group)]
            chosen = [
                each
                for prompt in groups
                for each in sorted(prompt, key=lambda one: -one.mean_logprob)[:best]
            ]
        return [_answered(each) for each in chosen]

    @property
    def output_tokens(self) -> int:
        return sum(sequence.output_tokens for sequence in self.sequences)

    def close(self, reason: str = CLIENT_GONE) -> None:
        """End every sequence that still runs."""
        for sequence in self.sequences:
            self._consumer.end(sequence, Ending(JobState.CANCELLED, None, reason))

    async def settle(self, choice: int) -> None:
        """Tell the queue the end of a durable choice."""
        await self._consumer.settle(self.sequences[choice])

    def count(self) -> None:
        """Say in the metrics how it ended."""
        observe(self._measured(time.monotonic()))

    def _measured(self, now_s: float) -> RequestEnd:
        failure, began = self.failure, [each.first_token_at_s for each in self.sequences]
        first_at_s = min((each for each in began if each is not None), default=None)
        return RequestEnd(
            deployment=self.deployment,
            revision=self.sequences[0].revision_id,
            outcome=(failure.outcome if failure is not None else JobState.COMPLETED).value,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            longest_tokens=max(each.output_tokens for each in self.sequences),
            latency_s=now_s - self.arrived_at_s,
            first_token_s=None if first_at_s is None else first_at_s - self.arrived_at_s,
        )

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self.count()


def _answered(sequence: Sequence) -> Answered:
    piece, ending = sequence.drain(), sequence.ending
    return Answered(
        piece.text,
        ending.finish if ending else None,
        piece.logprobs if sequence.shows_logprobs else None,
        sequence.prompt_logprobs if sequence.spec.sampling.prompt_logprobs >= 0 else None,
    )
