"""A value in Redis that has one writer's latest version and any number of readers that wait for it.

A stream of length one: the newest entry is the state, and reading past it blocks until it changes.
"""

from __future__ import annotations

from infra.connection import RedisClient, read_stream

_FIELD = b"body"


class Latest:
    """Redis must return bytes (`decode_responses=False`)."""

    def __init__(self, redis: RedisClient, key: str) -> None:
        self._redis = redis
        self._key = key
        self._seen = b"0"

    async def publish(self, body: bytes) -> None:
        await self._redis.xadd(self._key, {_FIELD: body}, maxlen=1, approximate=False)

    async def next(self, timeout_s: float) -> bytes | None:
        """The newest body that this reader has not had yet; None when the time runs out."""
        entries = await read_stream(self._redis, self._key, self._seen, 1, timeout_s)
        if not entries:
            return None
        self._seen, fields = entries[-1]
        return fields[_FIELD]
