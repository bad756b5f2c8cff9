"""The Redis servers that this machine knows of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from control_plane.cli.doctor.finding import Finding, fail, ok, warn
from infra.broker_check import broker_trouble
from infra.connection import REDIS_AWAY, at_primaries, connect
from infra.redis_check import UnfitRedis, check_jobs_server, check_tokens_server
from infra.redis_trouble import advice, said_by, wrong_url
from infra.redis_url import parse_redis_url
from infra.settings import Settings


async def examine_redis(settings: Settings) -> AsyncIterator[Finding]:
    """The server of the jobs, and that of the tokens where it is another; the broker."""
    if not settings.jobs_url and not settings.embedded_socket.exists():
        yield ok("redis", "the embedded one runs with 'tamer up'; none here now")
    else:
        yield await _examine("redis", settings.jobs, holds_jobs=True)
    if settings.tokens_url and settings.tokens_url != settings.jobs_url:
        yield await _examine("redis (tokens)", settings.tokens, holds_jobs=False)
    if settings.broker_url:
        trouble = await broker_trouble(settings)
        yield fail("broker", trouble) if trouble else ok("broker", "it answers")


async def _examine(subject: str, url: str, holds_jobs: bool) -> Finding:
    setting = "TAMER_JOBS_URL" if holds_jobs else "TAMER_TOKENS_URL"
    place, redis = parse_redis_url(url).place, connect(url)
    try:
        servers = await at_primaries(redis, "INFO", "server")
        persistence = await at_primaries(redis, "INFO", "persistence")
        await (check_jobs_server(redis) if holds_jobs else check_tokens_server(redis))
    except UnfitRedis as error:
        return fail(subject, str(error))
    except REDIS_AWAY as error:
        wrong = wrong_url(error, setting)
        if wrong is not None:
            return fail(subject, wrong)
        said = f"{place} does not answer ({said_by(error)})"
        return fail(subject, said, advice(error, setting))
    finally:
        await redis.aclose()
    [server, *_] = servers
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version") or server.get("redis_version")
    said = f"{name} {version} at {place}"
    if holds_jobs and (losing := what_it_may_lose(persistence)) is not None:
        says, what_to_type = losing
        return warn(subject, f"{said} {says}", what_to_type)
    return ok(subject, said)


def what_it_may_lose(persistence: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Judge the section "persistence" of the INFO of each primary: what such a server loses when
    it dies, and what to type; None where its file has everything that it acknowledged."""
    if not all(int(each.get("aof_enabled", 0)) for each in persistence):
        return (
            "writes no append-only file: jobs are lost when it restarts",
            "type: redis-cli CONFIG SET appendonly yes",
        )
    delays = sum(int(each.get("aof_delayed_fsync", 0)) for each in persistence)
    if delays:
        return (
            f"has waited for its disk {delays} times since it started, with acknowledged writes "
            "in its memory alone: jobs are lost when it is killed then",
            "type: redis-cli CONFIG SET appendfsync always (slower), or give it a faster disk",
        )
    return None
