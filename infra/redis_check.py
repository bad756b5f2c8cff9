"""Is this Redis one that keeps jobs? Asked once, when a process starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from infra.connection import REDIS_AWAY, RedisClient, at_primaries, connect
from infra.redis_trouble import advice, said_by, wrong_url
from infra.telemetry import logger

_OLDEST_REDIS = (7, 0)
_KEEPS_ALL = "noeviction"
_ANSWER_LIMIT_S = 5.0
_JOBS, _TOKENS = "TAMER_JOBS_URL", "TAMER_TOKENS_URL"
_log = logger(__name__)


class UnfitRedis(RuntimeError):
    """The server would lose jobs or cannot run the queue; the message says how to fix it."""


async def check_jobs_server(redis: RedisClient) -> None:
    """Check the server of TAMER_JOBS_URL: Redis 7.0 or newer (or Valkey) with functions, and no
    eviction. The policy counts without a `maxmemory` too: somebody may set one any day.

    Raises:
        UnfitRedis: it may not hold jobs.
        redis.exceptions.RedisError, OSError: it does not answer.
    """
    servers = await at_primaries(redis, "INFO", "server")
    for server, memory in zip(servers, await at_primaries(redis, "INFO", "memory"), strict=True):
        refuse_other_mode(server, _JOBS, cluster=isinstance(redis, RedisCluster))
        refuse_unfit(server, memory)
    try:
        await at_primaries(redis, "FUNCTION STATS")
    except ResponseError as error:
        raise UnfitRedis(
            f"the Redis of TAMER_JOBS_URL does not let us use functions ({error}): "
            "allow its user '+function +fcall', or use a server that has them"
        ) from error


async def check_tokens_server(redis: RedisClient) -> None:
    """Check the server of TAMER_TOKENS_URL, which may lose what it has.

    Raises:
        UnfitRedis: the URL is written for something else.
        redis.exceptions.RedisError, OSError: it does not answer.
    """
    for server in await at_primaries(redis, "INFO", "server"):
        refuse_other_mode(server, _TOKENS, cluster=isinstance(redis, RedisCluster))


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


def refuse_other_mode(server: Mapping[str, Any], setting: str, *, cluster: bool) -> None:
    """Judge whether the section "server" of INFO is of what the URL says.

    Raises:
        UnfitRedis: the URL is written for something else.
    """
    mode = server.get("redis_mode") or server.get("server_mode")
    if mode == "cluster" and not cluster:
        raise UnfitRedis(
            f"the Redis of {setting} is a node of a cluster: write redis+cluster://host:port "
            "instead of redis://host:port"
        )
    if mode == "sentinel":
        raise UnfitRedis(
            f"the Redis of {setting} is a sentinel: write redis+sentinel://host:port/MASTER"
        )


async def check_at_start(jobs_url: str, tokens_url: str) -> None:
    """As `check_jobs_server` and `check_tokens_server`; a server that is away is no reason not to
    start.

    Raises:
        UnfitRedis: it may not hold jobs, or its URL must be corrected first.
    """
    await _check(jobs_url, _JOBS, check_jobs_server)
    if tokens_url != jobs_url:
        await _check(tokens_url, _TOKENS, check_tokens_server)


async def _check(
    url: str, setting: str, check: Callable[[RedisClient], Coroutine[Any, Any, None]]
) -> None:
    redis = connect(url)
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            await check(redis)
    except REDIS_AWAY as error:
        wrong = wrong_url(error, setting)
        if wrong is not None:
            raise UnfitRedis(wrong) from error
        hint = advice(error, setting)
        _log.warning("redis_not_checked", setting=setting, error=said_by(error), advice=hint)
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
