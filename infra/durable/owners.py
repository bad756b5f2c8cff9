"""Which gateway owns which durable requests, and which of them are silent.

An owner's lease is a key that Redis itself lets expire. The sets only lead to requests: whose one
really is, the request itself says, so an entry too many is harmless.
"""

from __future__ import annotations

from typing import Any, cast

from infra.connection import RedisClient

_OWNERS = "tamer:durable:owners"
_NOBODY = "nobody"


def _lease_key(owner: str) -> str:
    return f"tamer:durable:lease:{owner}"


def _requests_key(owner: str) -> str:
    return f"tamer:durable:of:{owner}"


class Owners:
    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs

    async def add(self, owner: str, request_id: str, lease_s: float) -> None:
        """Before the request exists, so that nobody can own it unseen."""
        await self.renew(owner, lease_s)
        await cast(Any, self._jobs.sadd(_requests_key(owner), request_id))
        await cast(Any, self._jobs.sadd(_OWNERS, owner))

    async def remove(self, owner: str, request_id: str) -> None:
        await cast(Any, self._jobs.srem(_requests_key(owner), request_id))

    async def renew(self, owner: str, lease_s: float) -> None:
        await self._jobs.set(_lease_key(owner), b"1", px=round(lease_s * 1000))

    async def leave(self, owner: str) -> None:
        """Its requests are anybody's now."""
        await self._jobs.delete(_lease_key(owner))

    async def silent(self) -> list[str]:
        """Owners without a lease."""
        found: Any = await cast(Any, self._jobs.smembers(_OWNERS))
        owners = sorted(each.decode() for each in found)
        async with self._jobs.pipeline(transaction=False) as pipe:
            for owner in owners:
                pipe.exists(_lease_key(owner))
            alive: list[int] = await pipe.execute()
        return [owner for owner, yes in zip(owners, alive, strict=True) if not yes]

    async def requests(self, owner: str) -> list[str]:
        found: Any = await cast(Any, self._jobs.smembers(_requests_key(owner)))
        return sorted(each.decode() for each in found)

    async def offer(self, request_id: str) -> None:
        """A request that is nobody's: any gateway takes it over."""
        await cast(Any, self._jobs.sadd(_requests_key(_NOBODY), request_id))
        await cast(Any, self._jobs.sadd(_OWNERS, _NOBODY))

    async def forget(self, owner: str) -> None:
        """Drop a silent owner, unless something has become its since."""
        await cast(Any, self._jobs.srem(_OWNERS, owner))
        if await self.requests(owner):
            await cast(Any, self._jobs.sadd(_OWNERS, owner))
