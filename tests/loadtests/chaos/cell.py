"""A gateway, an agent with the paced engine and many clients around one Redis that may fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from infra.connection import RedisClient, connect
from infra.queue.queue import JobQueue
from infra.settings import Settings
from infra.states import JobState, ReplicaState
from infra.wire import Target
from loadtests.chaos.history import Accepted, Delivered, Ended, Event, check
from loadtests.paced.context_hash import expected_tokens
from tests.control_plane.gateway.conftest import MODEL, Gateway, build_tokenizer, text_assets
from tests.fixtures.waiting import eventually, wait_until
from tests.worker.agent.stage import Agent, staged

REVISION = "revision"
STREAMS = 24
TOKENS = 60
TOKENS_PER_S = 40.0
LEASE_S = 1.0
CONSUMER_LEASE_S = 4.0
"""Outages shorter than three seconds count as a gateway's silence, so it must outlast them."""
_ANSWERS_LIMIT_S = 40.0
_PRINTABLE = range(94)
"""Tokens of the test tokenizer that are one printable character each."""
_FIRST_CHARACTER = 33


class Client:
    """One streamed request, and whether what came was right."""

    def __init__(self, name: str, history: list[Event]) -> None:
        self.name = name
        self.text = ""
        self.outcome: JobState | None = None
        self.reason = ""
        self._history = history
        prompt: list[int] = build_tokenizer().encode(name, add_special_tokens=False).ids
        tokens = expected_tokens(prompt, TOKENS, _PRINTABLE)
        self._expected = "".join(chr(_FIRST_CHARACTER + each) for each in tokens)

    @property
    def right(self) -> bool:
        """Whether the whole answer came, or the beginning of it and a reason."""
        if self.outcome is JobState.COMPLETED:
            return self.text == self._expected
        return self._expected.startswith(self.text) and bool(self.reason)

    async def ask(self, http: httpx.AsyncClient) -> None:
        body = {"model": MODEL, "prompt": self.name, "max_tokens": TOKENS, "stream": True}
        async with http.stream("POST", "/v1/completions", json=body) as answer:
            self._history.append(Accepted(self.name))
            if answer.status_code != 200:
                self._end(JobState.FAILED, json.loads(await answer.aread())["error"]["code"])
                return
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    self._hear(line.removeprefix("data: "))

    def _hear(self, data: str) -> None:
        if data == "[DONE]":
            self._end(JobState.COMPLETED, "")
            return
        said = json.loads(data)
        if "error" in said:
            self._end(JobState.FAILED, said["error"]["code"])
            return
        for character in said["choices"][0]["text"]:
            self._history.append(Delivered(self.name, "connection", 1, len(self.text)))
            self.text += character

    def _end(self, outcome: JobState, reason: str) -> None:
        self.outcome, self.reason = outcome, reason
        self._history.append(Ended(self.name, outcome, reason))


class Cell:
    def __init__(self, redis: RedisClient, gateway: Gateway, agent: Agent) -> None:
        self.gateway = gateway
        self.agent = agent
        self.queue = JobQueue(redis, REVISION)
        self.clients: list[Client] = []
        self._history: list[Event] = []
        self._asking: list[asyncio.Task[None]] = []

    def ask(self, http: httpx.AsyncClient, requests: int = STREAMS) -> None:
        """Begin that many streams."""
        for _ in range(requests):
            client = Client(f"question {len(self.clients)}", self._history)
            self.clients.append(client)
            self._asking.append(asyncio.create_task(client.ask(http)))

    async def under_way(self) -> None:
        """Wait until every stream has begun to speak."""
        await wait_until(lambda: all(each.text for each in self.clients), "all streams speak")

    async def answered(self) -> None:
        """Wait until every request has ended, and judge what their clients saw."""
        async with asyncio.timeout(_ANSWERS_LIMIT_S):
            await asyncio.gather(*self._asking)
        assert check(self._history) == []
        assert [each.name for each in self.clients if not each.right] == []

    def reasons(self) -> set[str]:
        """Why requests did not complete."""
        return {each.reason for each in self.clients if each.outcome is not JobState.COMPLETED}

    async def still_works(self, http: httpx.AsyncClient) -> None:
        """New requests complete, no process has ended, nothing is open, the books are right."""
        before = len(self.clients)
        self.ask(http, 4)
        await self.answered()
        assert {each.outcome for each in self.clients[before:]} == {JobState.COMPLETED}
        assert self.agent.process.returncode is None
        assert self.gateway.services.consumer.running
        await eventually(self._settled)
        counted = await self.queue.recount()
        assert counted is not None
        assert counted.holds

    async def _settled(self) -> bool:
        consumer = self.gateway.services.consumer
        return consumer.open_jobs == 0 and (await self.queue.balance()).pending == 0


@contextlib.asynccontextmanager
async def running_cell(folder: Path, url: str) -> AsyncIterator[tuple[Cell, httpx.AsyncClient]]:
    """The cell, ready to serve, and a client of its gateway."""
    redis = connect(url)
    settings = Settings(
        home=folder, jobs_url=url, consumer_lease_s=CONSUMER_LEASE_S, max_attempts=10
    )
    gateway = Gateway(settings, redis, text_assets())
    async with (
        _started(gateway),
        staged(folder, redis, url, LEASE_S) as stage,
        gateway.http() as http,
    ):
        http.timeout = httpx.Timeout(_ANSWERS_LIMIT_S)
        agent = await stage.agent("instance")
        await agent.assign(
            stage.replica(
                "replica",
                tokens_per_s=TOKENS_PER_S,
                max_running=2 * STREAMS,
                first_token=_PRINTABLE.start,
                vocabulary_size=len(_PRINTABLE),
            )
        )
        await gateway.publish(targets=[Target(REVISION)], max_context_tokens=4 * TOKENS)
        await agent.until("replica", ReplicaState.READY)
        yield Cell(redis, gateway, agent), http
    await redis.aclose()


@contextlib.asynccontextmanager
async def _started(gateway: Gateway) -> AsyncIterator[None]:
    await gateway.start()
    try:
        yield
    finally:
        await gateway.stop()
