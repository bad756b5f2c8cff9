"""Is this Redis one that keeps jobs? Asked once, when a process starts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from infra.connection import REDIS_AWAY, connect
from infra.telemetry import logger

_OLDEST_REDIS = (7, 0)
_KEEPS_ALL = "noeviction"
_ANSWER_LIMIT_S = 5.0
_log = logger(__name__)


class UnfitRedis(RuntimeError):
    """The server would lose jobs or cannot run the queue; the message says how to fix it."""


async def check_jobs_server(redis: Redis) -> None:
    """Check the server of TAMER_JOBS_URL: Redis 7.0 or newer (or Valkey) with functions, and no
    eviction. The policy counts without a `maxmemory` too: somebody may set one any day.

    Raises:
        UnfitRedis: it may not hold jobs.
        redis.exceptions.RedisError, OSError: it does not answer.
    """
    refuse_unfit(await redis.info("server"), await redis.info("memory"))
    try:
        await redis.execute_command("FUNCTION", "STATS")  # type: ignore[no-untyped-call]
    except ResponseError as error:
        raise UnfitRedis(
            f"the Redis of TAMER_JOBS_URL does not let us use functions ({error}): "
            "allow its user '+function +fcall', or use a server that has them"
        ) from error


def refuse_unfit(server: Mapping[str, Any], memory: Mapping[str, Any]) -> None:
    """Judge the sections "server" and "memory" of INFO.

    Raises:
        UnfitRedis: too old, or it evicts.
    """
    version = str(server.get("redis_version", "0"))
    if _numbers(version) < _OLDEST_REDIS:
        raise UnfitRedis(
            f"the Redis of TAMER_JOBS_URL is version {version} and the job queue needs functions: "
            "use Redis 7.0 or newer, or any Valkey"
        )
    policy = str(memory.get("maxmemory_policy", _KEEPS_ALL))
    if policy != _KEEPS_ALL:
        raise UnfitRedis(
            f"the Redis of TAMER_JOBS_URL evicts keys (maxmemory-policy {policy}), so it would "
            "lose jobs: type 'redis-cli CONFIG SET maxmemory-policy noeviction' (and put it into "
            "its configuration), or set TAMER_JOBS_URL to another server"
        )


async def check_at_start(redis: Redis) -> None:
    """As `check_jobs_server`; a server that is away is no reason not to start.

    Raises:
        UnfitRedis: it may not hold jobs.
    """
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            await check_jobs_server(redis)
    except REDIS_AWAY as error:
        _log.warning("redis_not_checked", error=str(error) or type(error).__name__)


async def check_url_at_start(url: str) -> None:
    """As `check_at_start`, on a connection of its own.

    Raises:
        UnfitRedis: it may not hold jobs.
    """
    redis = connect(url)
    try:
        await check_at_start(redis)
    finally:
        await redis.aclose()


def _numbers(version: str) -> tuple[int, ...]:
    """ "7.2.4" -> (7, 2, 4); what is no number ends it."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
