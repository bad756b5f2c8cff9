"""Which workers hold the weights of a package, whole or in part, and where they can be asked.

A holder is a key that Redis itself lets expire, so no clocks are compared; a set says whose keys to
look for, and whoever finds one gone takes it out.
"""

from __future__ import annotations

from typing import Any

from infra.connection import RedisClient


def _members_key(root: str) -> str:
    return f"tamer:weights:{root}:holders"


def _holder_key(root: str, holder: str) -> str:
    return f"tamer:weights:{root}:holder:{holder}"


class Holders:
    """Raises what redis-py raises."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs

    async def announce(self, root: str, address: str, ttl_s: float) -> None:
        """This address (HOST:PORT) may be asked for the package until the time is over."""
        await self._jobs.set(_holder_key(root, address), b"1", px=int(ttl_s * 1000))
        await self._jobs.sadd(_members_key(root), address)
        await self._jobs.expire(_members_key(root), 86400)

    async def withdraw(self, root: str, address: str) -> None:
        await self._jobs.srem(_members_key(root), address)
        await self._jobs.delete(_holder_key(root, address))

    async def of(self, root: str) -> list[str]:
        """Every address that can be asked now; sorted."""
        members: set[Any] = await self._jobs.smembers(_members_key(root))
        told = sorted(each.decode() for each in members)
        if not told:
            return []
        async with self._jobs.pipeline(transaction=False) as pipe:
            for address in told:
                pipe.exists(_holder_key(root, address))
            living: list[int] = await pipe.execute()
        for address, lives in zip(told, living, strict=True):
            if not lives:
                await self._jobs.srem(_members_key(root), address)
        return [address for address, lives in zip(told, living, strict=True) if lives]
