"""From a client's idempotency key to the request that it began."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from infra.connection import RedisClient
from infra.durable.functions import call
from infra.wire import decode


class Repeated(msgspec.Struct, frozen=True):
    """What a key stands for."""

    request_id: str
    body_digest: str
    """Of what was asked, so that the same key with another question is noticed."""


class IdempotencyKeys:
    """`keep_s`: how long a key is known after its first use, or after its request's end."""

    def __init__(self, jobs: RedisClient, keep_s: float) -> None:
        self._jobs = jobs
        self._keep_s = max(1, round(keep_s))

    async def find(self, name: str) -> Repeated | None:
        body: Any = await self._jobs.get(name)
        return None if body is None else decode(body, Repeated)

    async def take(self, name: str, repeated: Repeated) -> Repeated | None:
        """Take a key for a request; what it stands for already, or None where it was free (or was
        taken by this very request before)."""
        body = msgspec.msgpack.encode(repeated)
        before: Any = await self._jobs.set(name, body, nx=True, get=True, ex=self._keep_s)
        found = None if before is None else decode(before, Repeated)
        return None if found == repeated else found

    async def keep(self, name: str) -> None:
        """Its request has ended: the key is known as long as the answer is."""
        await self._jobs.expire(name, self._keep_s)

    async def release(self, name: str, request_id: str) -> None:
        """Its request came to nothing: the client may use the key again."""
        body: Any = await self._jobs.get(name)
        if body is not None and decode(body, Repeated).request_id == request_id:
            await call(self._jobs, "release_key", name, body)


def key_name(tenant: str, key: str) -> str:
    """A client's key is its tenant's own."""
    digest = hashlib.sha256(f"{len(tenant)}:{tenant}:{key}".encode()).hexdigest()
    return f"tamer:idempotency:{digest}"
