"""A Redis that would lose jobs is refused with one line that says how to fix it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from infra.connection import connect
from infra.embedded import EmbeddedValkey
from infra.redis_check import UnfitRedis, check_at_start, check_jobs_server, refuse_unfit


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Valkey of its own, whose configuration a test may change."""
    valkey = EmbeddedValkey(tmp_path / "own.sock", data_dir=None)
    valkey.start()
    client = connect(valkey.url)
    yield client
    await client.aclose()
    valkey.stop()


async def test_the_embedded_server_may_hold_jobs(server: Redis) -> None:
    await check_jobs_server(server)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
@pytest.mark.parametrize("maxmemory", ["0", "100mb"])
async def test_a_server_that_evicts_is_refused_with_or_without_a_limit(
    server: Redis, policy: str, maxmemory: str
) -> None:
    await server.config_set("maxmemory-policy", policy)
    await server.config_set("maxmemory", maxmemory)
    with pytest.raises(
        UnfitRedis, match=rf"{policy}.*CONFIG SET maxmemory-policy noeviction"
    ) as no:
        await check_jobs_server(server)
    assert len(str(no.value).splitlines()) == 1


async def test_a_user_who_may_not_use_functions_is_refused(server: Redis) -> None:
    await server.execute_command("ACL", "SETUSER", "default", "-function")
    with pytest.raises(UnfitRedis, match=r"\+function \+fcall"):
        await check_jobs_server(server)


@pytest.mark.parametrize("version", ["6.2.14", "5.0.7", "0"])
def test_a_server_without_functions_is_refused(version: str) -> None:
    with pytest.raises(UnfitRedis, match=r"Redis 7\.0 or newer"):
        refuse_unfit({"redis_version": version}, {"maxmemory_policy": "noeviction"})


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.4.0-rc1", "10.0"])
def test_newer_servers_are_taken(version: str) -> None:
    refuse_unfit({"redis_version": version}, {"maxmemory_policy": "noeviction"})


async def test_a_server_that_is_away_is_no_reason_not_to_start(tmp_path: Path) -> None:
    nobody = f"unix://{tmp_path / 'nobody.sock'}"
    await check_at_start(nobody, nobody)
