"""Connections to Redis and Valkey, made in one way: bytes in and out, bounded waits, one retry."""

from __future__ import annotations

from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

_CONNECT_LIMIT_S = 5.0
_REPLY_LIMIT_S = 30.0
"""Longer than any blocking read we send."""

REDIS_AWAY = (RedisError, OSError)
"""What a Redis that is away, loading, full or slow raises; all of it is worth another try."""


def connect(url: str) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://`; it connects at its first command.

    A command that fails because the connection broke is sent once more on a new connection, so
    every command we send must be safe to repeat.
    """
    return Redis.from_url(
        url,
        decode_responses=False,
        socket_connect_timeout=_CONNECT_LIMIT_S,
        socket_timeout=_REPLY_LIMIT_S,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )


StreamEntry = tuple[bytes, dict[bytes, bytes]]


async def read_stream(
    redis: Redis, key: str, after: bytes, count: int, timeout_s: float
) -> list[StreamEntry]:
    """Entries of one stream past `after`, oldest first; waits up to `timeout_s` for the first."""
    reply: Any = await redis.xread({key: after}, count=count, block=max(1, int(timeout_s * 1000)))
    if not reply:
        return []
    [(_, entries)] = reply.items() if isinstance(reply, dict) else reply
    return cast(list[StreamEntry], entries)
