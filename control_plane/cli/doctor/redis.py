"""The Redis servers that this machine knows of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from control_plane.cli.doctor.finding import Finding, fail, ok, warn
from infra.connection import REDIS_AWAY, connect
from infra.redis_check import UnfitRedis, check_jobs_server
from infra.settings import Settings


async def examine_redis(settings: Settings) -> AsyncIterator[Finding]:
    """The server of the jobs, and that of the tokens where it is another."""
    if not settings.jobs_url and not settings.embedded_socket.exists():
        yield ok("redis", "the embedded one runs with 'tamer up'; none here now")
    else:
        yield await _examine("redis", settings.jobs, holds_jobs=True)
    if settings.tokens_url and settings.tokens_url != settings.jobs_url:
        yield await _examine("redis (tokens)", settings.tokens, holds_jobs=False)


async def _examine(subject: str, url: str, holds_jobs: bool) -> Finding:
    try:
        redis = connect(url)
    except ValueError as error:
        return fail(subject, f"its URL is none ({error})", "write it like redis://host:6379/0")
    try:
        server, persistence = await redis.info("server"), await redis.info("persistence")
        if holds_jobs:
            await check_jobs_server(redis)
    except UnfitRedis as error:
        return fail(subject, str(error))
    except REDIS_AWAY as error:
        said = f"{_place(url)} does not answer ({str(error) or type(error).__name__})"
        return fail(subject, said, "start it, or correct TAMER_JOBS_URL and TAMER_TOKENS_URL")
    finally:
        await redis.aclose()
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version") or server.get("redis_version")
    said = f"{name} {version} at {_place(url)}"
    if holds_jobs and not int(persistence.get("aof_enabled", 0)):
        return warn(
            subject,
            f"{said} writes no append-only file: jobs are lost when it restarts",
            "type: redis-cli CONFIG SET appendonly yes",
        )
    return ok(subject, said)


def _place(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
