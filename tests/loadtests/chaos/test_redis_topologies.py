"""The same cell behind sentinels and on a cluster: it works, and it outlives a lost primary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.queue.queue import base_key
from tests.fixtures.valkey_cluster import ValkeyCluster
from tests.fixtures.valkey_sentinel import ValkeySentinels
from tests.loadtests.chaos.cell import REVISION, running_cell


@pytest.fixture
def keeping_cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    """Every node writes an append-only file before it answers."""
    cluster = ValkeyCluster(tmp_path / "nodes", "--appendonly", "yes", "--appendfsync", "no")
    cluster.start()
    yield cluster
    cluster.kill()


async def test_a_failover_ends_every_request_right_or_with_a_reason(
    valkey_sentinels: ValkeySentinels, tmp_path: Path
) -> None:
    async with running_cell(tmp_path, valkey_sentinels.url) as (cell, http):
        cell.ask(http)
        await cell.under_way()
        valkey_sentinels.primary.kill()
        cell.ask(http, 4)
        await cell.answered()
        assert cell.reasons() <= {"queue_lost", "job_lost"}
        await cell.still_works(http)
        assert "master" in str(valkey_sentinels.replica.ask("ROLE"))


async def test_a_shard_that_restarts_with_its_data_loses_no_request(
    keeping_cluster: ValkeyCluster, tmp_path: Path
) -> None:
    async with running_cell(tmp_path, keeping_cluster.url) as (cell, http):
        cell.ask(http)
        await cell.under_way()
        node = keeping_cluster.owner(base_key(REVISION))
        node.kill()
        node.start()
        keeping_cluster.wait_until_whole()
        await cell.answered()
        assert cell.reasons() == set()
        await cell.still_works(http)
