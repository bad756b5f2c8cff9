from __future__ import annotations

import signal
import sys
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from control_plane.store.repositories import replicas
from control_plane.store.session import Database
from control_plane.store.tables import Deployment
from infra.embedded import EmbeddedValkey
from infra.log_stream import append_lines
from infra.states import ReplicaState
from tests.control_plane.api.conftest import MakeModel
from tests.fixtures.waiting import eventually
from tests.worker.agent.stage import staged


@pytest.fixture
async def replica_id(client: httpx.AsyncClient, make_model: MakeModel, store: Database) -> str:
    await make_model()
    made = await client.put("/deployments/chat", json={"model": "smollm2"})
    async with store.transaction() as session:
        deployment = await session.get_one(Deployment, made.json()["deployment"]["id"])
        return (await replicas.add(session, deployment)).id


async def test_a_replica_is_shown_with_the_name_of_its_deployment(
    client: httpx.AsyncClient, replica_id: str
) -> None:
    shown = (await client.get(f"/replicas/{replica_id}")).json()
    assert (shown["deployment"], shown["state"]) == ("chat", "requested")


async def test_logs_go_on_where_the_last_answer_ended(
    client: httpx.AsyncClient, replica_id: str, valkey: Redis
) -> None:
    path = f"/replicas/{replica_id}/logs"
    assert (await client.get(path)).json() == {"lines": [], "next": "0"}
    await append_lines(valkey, replica_id, ["one", "two"])
    first = (await client.get(path)).json()
    assert first["lines"] == ["one", "two"]
    await append_lines(valkey, replica_id, ["three"])
    second = (await client.get(path, params={"after": first["next"]})).json()
    assert second["lines"] == ["three"]


@pytest.mark.parametrize("after", ["x", "(0", "1-2-3", "-1", "9" * 30])
async def test_a_bad_position_in_the_log_is_refused(
    client: httpx.AsyncClient, replica_id: str, after: str
) -> None:
    answer = await client.get(f"/replicas/{replica_id}/logs", params={"after": after})
    assert answer.status_code == 422


async def test_logs_of_an_unknown_replica_answer_404(client: httpx.AsyncClient) -> None:
    assert (await client.get("/replicas/rep-none/logs")).status_code == 404
    assert (await client.get("/replicas/rep-none")).status_code == 404


@pytest.mark.skipif(sys.platform != "linux", reason="agents read /proc")
async def test_logs_of_a_replica_are_there_after_its_agent_was_killed(
    client: httpx.AsyncClient,
    replica_id: str,
    tmp_path: Path,
    valkey: Redis,
    valkey_server: EmbeddedValkey,
) -> None:
    path = f"/replicas/{replica_id}/logs"
    async with staged(tmp_path, valkey, valkey_server.url) as stage:
        agent = await stage.agent("instance-gone")
        await agent.assign(stage.replica(replica_id))
        await agent.until(replica_id, ReplicaState.READY)

        async def shipped() -> bool:
            return any('"ready"' in each for each in (await client.get(path)).json()["lines"])

        await eventually(shipped)
        agent.signal(signal.SIGKILL)
        await agent.ended()
    lines = (await client.get(path)).json()["lines"]
    assert any("engine started" in each for each in lines)
    assert any('"ready"' in each for each in lines)
