"""All sequences of one request, as one thing to wait for."""

from __future__ import annotations

import asyncio
from types import TracebackType

from control_plane.gateway.consumer import Consumer
from control_plane.gateway.sequence import Ending, Sequence
from infra.states import JobState
from infra.waiting import set_within


class Generation:
    """Leaving the context ends every sequence that still runs: its client is gone, or has failed.

    Sequences are numbered as the client numbers its choices.
    """

    def __init__(self, consumer: Consumer, prompt_tokens: int) -> None:
        self.sequences: list[Sequence] = []
        self.prompt_tokens = prompt_tokens
        self._consumer = consumer
        self._news = asyncio.Event()

    def notify(self) -> None:
        self._news.set()

    async def wait(self, limit_s: float | None = None) -> bool:
        """Wait for news of any sequence; False when the time ran out."""
        if not await set_within(self._news, limit_s):
            return False
        self._news.clear()
        return True

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

    @property
    def output_tokens(self) -> int:
        return sum(sequence.output_tokens for sequence in self.sequences)

    def close(self) -> None:
        for sequence in self.sequences:
            self._consumer.end(sequence, Ending(JobState.CANCELLED, None, "client_gone"))

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
