"""Durable requests and their logs: written by one gateway at a time, read by any.

A request is `open` until its end is in its log. Every write carries the number of the writer's
claim, so after another gateway has claimed the request, the one before it cannot write (the checks
and the writes are one call of a Redis function each, see `functions.lua`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from infra.connection import RedisClient, StreamEntry, read_stream
from infra.durable.functions import call
from infra.wire import DurableRequest, LogEntry, decode, encode

OPEN = "open"
_FIELD = b"entry"
_FORGET_S = 3600
"""How long a request may take from its creation to its acceptance."""
_READ_BATCH = 1000
_MAX_WAITING = 100
_LOOK_AGAIN_S = 1.0


class Written(StrEnum):
    YES = "yes"
    NOT_OURS = "not_ours"
    """Another gateway has claimed the request, it has ended, or it is gone."""
    LOST = "lost"
    """Redis has lost entries that were there before."""


@dataclass(frozen=True, slots=True)
class Found:
    request: DurableRequest
    status: str
    """`open`, or how it ended: completed, failed, cancelled, expired."""
    owner: str
    claim: int
    length: int
    """Number of the newest entry of the log."""
    accepted: bool
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Mark:
    claim: int
    """The newest; 0 where the request is gone."""
    cancelled: bool


class DurableLog:
    """`keep_s`: how long an ended request and its answer can be read."""

    def __init__(self, jobs: RedisClient, keep_s: float) -> None:
        self._jobs = jobs
        self._keep_s = max(1, round(keep_s))
        self._waiting = 0

    # --- the owner ---

    async def create(self, request: DurableRequest, owner: str) -> bool:
        """Create an open request, claimed (1) by its owner; False where the id is taken."""
        return bool(await self._call(request, "create", owner, encode(request), _FORGET_S))

    async def accept(self, request: DurableRequest, claim: int) -> bool:
        """All its jobs are in the queue; from now on it does not end without a reason."""
        return bool(await self._call(request, "accept", claim))

    async def discard(self, request: DurableRequest, claim: int) -> None:
        """It was never accepted."""
        await self._call(request, "discard", claim)

    async def append(
        self, request: DurableRequest, claim: int, first: int, entries: Sequence[LogEntry]
    ) -> Written:
        """Write entries numbered from `first`; writing the same ones again changes nothing."""
        reply = await self._call(request, "append", claim, first, *map(encode, entries))
        return {1: Written.YES, 0: Written.NOT_OURS, -1: Written.LOST}[int(reply)]

    async def finish(self, request: DurableRequest, claim: int, status: str) -> bool:
        """End it; only after its last entry. The answer is kept for `keep_s`."""
        body = encode(request)
        return bool(await self._call(request, "finish", claim, status, body, self._keep_s))

    async def claim(self, found: Found, owner: str) -> int | None:
        """Take a request over; its new claim, or None where it has ended or others were first."""
        return int(await self._call(found.request, "claim", found.claim, owner)) or None

    async def marks(self, request_ids: Sequence[str]) -> list[Mark]:
        """What others have written on requests, in the same order."""
        async with self._jobs.pipeline(transaction=False) as pipe:
            for request_id in request_ids:
                pipe.hmget(_key(request_id), "claim", "cancelled")
            found: list[list[bytes | None]] = await pipe.execute()
        return [Mark(int(claim or 0), bool(cancelled)) for claim, cancelled in found]

    # --- anybody ---

    async def find(self, request_id: str) -> Found | None:
        """Raises Malformed: what lies there is not a request."""
        reply: Any = await self._jobs.hgetall(_key(request_id))
        if not reply:
            return None
        fields = cast(dict[bytes, bytes], reply)
        return Found(
            request=decode(fields[b"body"], DurableRequest),
            status=fields[b"status"].decode(),
            owner=fields[b"owner"].decode(),
            claim=int(fields[b"claim"]),
            length=int(fields[b"length"]),
            accepted=b"accepted" in fields,
            cancelled=b"cancelled" in fields,
        )

    async def entries(self, request_id: str, after: int = 0) -> list[tuple[int, LogEntry]]:
        """Numbered entries after a number, oldest first; a bounded part of what is there."""
        reply: Any = await self._jobs.xrange(
            _log_key(request_id), min=f"({after}-0", count=_READ_BATCH
        )
        return _numbered(cast(list[StreamEntry], reply))

    async def all_entries(self, request_id: str) -> list[tuple[int, LogEntry]]:
        found: list[tuple[int, LogEntry]] = []
        while batch := await self.entries(request_id, found[-1][0] if found else 0):
            found += batch
        return found

    async def next_entries(
        self, request_id: str, after: int, timeout_s: float
    ) -> list[tuple[int, LogEntry]]:
        """As `entries`, waiting for the first; empty when the time runs out.

        Who waits holds a connection of the server. When too many do, the rest look now and then.
        """
        if self._waiting >= _MAX_WAITING:
            await asyncio.sleep(min(timeout_s, _LOOK_AGAIN_S))
            return await self.entries(request_id, after)
        self._waiting += 1
        try:
            entries = await read_stream(
                self._jobs, _log_key(request_id), f"{after}-0".encode(), _READ_BATCH, timeout_s
            )
        finally:
            self._waiting -= 1
        return _numbered(entries)

    async def ask_to_cancel(self, request_id: str) -> None:
        """Mark an open request; its owner ends it."""
        await call(self._jobs, "cancel", _key(request_id))

    async def reopen(self, request: DurableRequest, drop: Sequence[int]) -> bool:
        """Let a failed request go on, without the entries that say that it failed.

        Returns False where it has not failed.
        """
        return bool(await self._call(request, "reopen", encode(request), *drop))

    async def _call(self, request: DurableRequest, function: str, *args: str | int | bytes) -> Any:
        return await call(self._jobs, function, _key(request.request_id), *args)


def _key(request_id: str) -> str:
    return f"tamer:request:{{{request_id}}}"


def _log_key(request_id: str) -> str:
    return f"{_key(request_id)}:log"


def _numbered(entries: Sequence[StreamEntry]) -> list[tuple[int, LogEntry]]:
    return [
        (int(name.partition(b"-")[0]), decode(fields[_FIELD], LogEntry)) for name, fields in entries
    ]
