"""The least consumer that recovers: it takes the current attempt and the next index, offers again
what its attempt lost, and settles what has finished."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from infra.queue.queue import JobQueue, Offer
from infra.states import JobState
from infra.token_stream import TokenReader
from infra.wire import FinishReason, JobSpec, Sampling, TokenEvent, encode


class Stream:
    """One job, as its client sees it."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.attempt = 1
        self.tokens: list[int] = []
        self.finish: FinishReason | None = None
        self.error = ""
        self.released = 0
        self.replicas: list[str] = []


class Consumer:
    def __init__(self, redis: Redis, revision_id: str, name: str = "gateway") -> None:
        self.queue = JobQueue(redis, revision_id)
        self.streams: dict[str, Stream] = {}
        self.heard: list[tuple[str, TokenEvent]] = []
        """Everything that came, with the replica that said it, also what was not taken."""
        self._name = name
        self._reader = TokenReader(redis, name)

    async def ask(
        self, job_id: str, prompt: list[int], max_tokens: int, traceparent: str = ""
    ) -> Stream:
        spec = JobSpec(job_id, "request", prompt, Sampling(max_tokens), traceparent=traceparent)
        stream = self.streams[job_id] = Stream(spec)
        offer = Offer(job_id, self._name, encode(spec), len(prompt) + max_tokens, len(prompt), 60.0)
        await self.queue.offer(offer, max_queued=1000)
        return stream

    async def cancel(self, job_id: str) -> None:
        stream = self.streams[job_id]
        stream.finish = FinishReason.STOP
        await self.queue.settle(
            job_id, self._name, JobState.CANCELLED, "client", len(stream.tokens)
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Consumer]:
        loops = [asyncio.create_task(each) for each in (self._listen(), self._attend())]
        try:
            yield self
            for each in loops:
                assert not each.done() or each.result() is None
        finally:
            for each in loops:
                each.cancel()

    async def _listen(self) -> None:
        while True:
            for step in await self._reader.read(timeout_s=1.0):
                for event in step.events:
                    self.heard.append((step.replica_id, event))
                    await self._take(step.replica_id, event)

    async def _take(self, replica_id: str, event: TokenEvent) -> None:
        stream = self.streams[event.job_id]
        if stream.finish is not None or event.attempt != stream.attempt:
            return
        if event.finish is FinishReason.RELEASED:
            stream.released += 1
            assert event.index == len(stream.tokens)
            await self._offer_again(stream)
            return
        assert event.index <= len(stream.tokens), "a gap in the stream"
        stream.tokens += event.tokens[len(stream.tokens) - event.index :]
        if replica_id not in stream.replicas:
            stream.replicas.append(replica_id)
        if event.finish is not None:
            stream.finish, stream.error = event.finish, event.error
            await self.queue.settle(
                event.job_id,
                self._name,
                JobState.COMPLETED,
                event.finish.value,
                len(stream.tokens),
                stop=False,
            )

    async def _offer_again(self, stream: Stream) -> None:
        old = stream.spec
        spec = JobSpec(
            old.job_id, old.request_id, old.prompt, old.sampling, delivered=list(stream.tokens)
        )
        attempt = await self.queue.reoffer(
            old.job_id, self._name, stream.attempt, encode(spec), max_attempts=10
        )
        if attempt is not None:
            stream.attempt = attempt

    async def _attend(self) -> None:
        while True:
            attended = await self.queue.attend(self._name, ttl_s=10.0)
            for orphan in attended.orphans:
                stream = self.streams[orphan.job_id]
                if stream.finish is None and orphan.attempt == stream.attempt:
                    await self._offer_again(stream)
            await asyncio.sleep(0.1)
