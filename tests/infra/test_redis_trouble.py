"""What is wrong with a Redis, or with its URL, is said with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from infra.connection import REDIS_AWAY, connect
from infra.redis_check import UnfitRedis, check_at_start, check_jobs_server
from infra.redis_trouble import advice, said_by
from tests.fixtures.valkey_cluster import ClusterNode, ValkeyCluster
from tests.fixtures.valkey_process import ValkeyProcess
from tests.fixtures.valkey_sentinel import MASTER, ValkeySentinels

PASSWORD = "right"


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeySentinels]:
    sentinels = ValkeySentinels(tmp_path_factory.mktemp("valkeys"))
    sentinels.start()
    yield sentinels
    sentinels.kill()


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server without a password."""
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"), "--save", "")
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.kill()


@pytest.fixture
def guarded_sentinel(tmp_path: Path) -> Iterator[str]:
    """The address of a sentinel with a password, which watches nobody."""
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"requirepass {PASSWORD}\n")
    sentinel = ValkeyProcess(tmp_path, str(settings), "--sentinel")
    sentinel.start()
    yield f"127.0.0.1:{sentinel.port}"
    sentinel.kill()


@pytest.fixture
def lonely_node(tmp_path: Path) -> Iterator[ClusterNode]:
    """A node that no cluster has given slots to."""
    node = ClusterNode(tmp_path)
    node.start()
    yield node
    node.kill()


async def refusal(url: str) -> str:
    with pytest.raises(UnfitRedis) as refused:
        await check_at_start(url, url)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


async def advice_for(url: str) -> str:
    """A process starts nevertheless, and goes on trying."""
    await check_at_start(url, url)
    client = connect(url)
    with pytest.raises(REDIS_AWAY) as away:
        await check_jobs_server(client)
    await client.aclose()
    assert "<" not in said_by(away.value), "in words"
    return advice(away.value, "TAMER_JOBS_URL")


async def test_a_sound_primary_and_a_sound_cluster_may_hold_jobs(
    sentinels: ValkeySentinels, valkey_cluster_servers: ValkeyCluster
) -> None:
    await check_at_start(sentinels.url, sentinels.url)
    cluster = valkey_cluster_servers.url
    await check_at_start(cluster, cluster)


async def test_one_shard_that_evicts_is_enough_for_a_refusal(
    valkey_cluster_servers: ValkeyCluster,
) -> None:
    last = valkey_cluster_servers.nodes[-1]
    last.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert "noeviction" in await refusal(valkey_cluster_servers.url)
    finally:
        last.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_wrong_password_is_refused(
    lonely_node: ClusterNode, login: str, scheme: str
) -> None:
    lonely_node.ask("CONFIG", "SET", "requirepass", PASSWORD)
    said = await refusal(f"{scheme}://{login}127.0.0.1:{lonely_node.port}")
    assert "refuses user and password" in said
    assert "wrong" not in said.partition("(")[0]


async def test_a_wrong_password_of_the_sentinels_is_refused(guarded_sentinel: str) -> None:
    url = f"redis+sentinel://:{PASSWORD}@{guarded_sentinel}/mine"
    assert "sentinel_password" in await refusal(url)
    assert "sentinel_password" in await refusal(f"{url}?sentinel_password=wrong")
    assert "SENTINEL MASTERS" in await advice_for(f"{url}?sentinel_password={PASSWORD}")


async def test_a_master_that_no_sentinel_knows_is_named(sentinels: ValkeySentinels) -> None:
    assert "SENTINEL MASTERS" in await advice_for(
        f"redis+sentinel://{sentinels.addresses}/not-{MASTER}"
    )


async def test_sentinels_that_are_all_away_are_waited_for() -> None:
    assert "SENTINEL MASTERS" in await advice_for("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mine")


async def test_a_cluster_that_misses_slots_is_waited_for(lonely_node: ClusterNode) -> None:
    assert "CLUSTER INFO" in await advice_for(f"redis+cluster://127.0.0.1:{lonely_node.port}")


async def test_a_cluster_that_is_away_is_waited_for() -> None:
    assert "TAMER_JOBS_URL" in await advice_for("redis+cluster://127.0.0.1:1,127.0.0.1:2")


async def test_a_node_that_goes_away_while_it_is_greeted_is_away(
    valkey_cluster_servers: ValkeyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py's own words for it are of an attribute."""
    redis = connect(valkey_cluster_servers.url)
    await redis.execute_command("GET", "key")
    send = AbstractConnection._send_packed_command

    async def send_without_stream(connection: Any, command: Any) -> Any:
        connection._writer = None
        return await send(connection, command)

    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, "_send_packed_command", send_without_stream)
        with pytest.raises(REDIS_AWAY):
            await redis.execute_command("GET", "key")
        with pytest.raises(REDIS_AWAY):
            await redis.pipeline(transaction=False).get("key").execute()
    await redis.aclose()


async def test_a_url_for_another_topology_is_refused_with_the_right_one(
    one_server: str, sentinels: ValkeySentinels, valkey_cluster_servers: ValkeyCluster
) -> None:
    assert "names no cluster" in await refusal(f"redis+cluster://{one_server}")
    assert "no sentinel" in await refusal(f"redis+sentinel://{one_server}/mine")
    node = valkey_cluster_servers.nodes[0]
    assert "redis+cluster://" in await refusal(f"redis://127.0.0.1:{node.port}")
    sentinel = sentinels.sentinels[0]
    assert "redis+sentinel://" in await refusal(f"redis://127.0.0.1:{sentinel.port}")


async def test_the_server_of_the_tokens_is_looked_at_too(
    one_server: str, valkey_cluster_servers: ValkeyCluster
) -> None:
    node = f"redis://127.0.0.1:{valkey_cluster_servers.nodes[0].port}"
    with pytest.raises(UnfitRedis, match="TAMER_TOKENS_URL is a node of a cluster"):
        await check_at_start(f"redis://{one_server}", node)
