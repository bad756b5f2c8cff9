from __future__ import annotations

import httpx
from redis.asyncio import Redis

from infra.queue.queue import JobQueue, Offer, base_key
from infra.states import JobState
from tests.control_plane.api.conftest import MakeModel

_CHAT = {"name": "chat", "model": "smollm2"}
_OTHER = {**_CHAT, "engine": {"exact": True}}


async def deploy(client: httpx.AsyncClient, spec: object) -> str:
    """Returns the id of the revision."""
    answer = await client.put("/deployments/chat", json=spec)
    return str(answer.json()["deployment"]["revision"]["id"])


async def offer(valkey: Redis, revision_id: str, *job_ids: str) -> None:
    for job_id in job_ids:
        offered = Offer(job_id, "gateway", b"spec", 10, 10, 60.0)
        await JobQueue(valkey, revision_id).offer(offered, 100)


async def test_queues_that_were_never_used_are_left_out(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    await deploy(client, _CHAT)
    body = (await client.get("/audit")).json()
    assert body["queues"] == []
    assert body["holds"] is True


async def test_an_audit_covers_former_revisions_and_sums_up(
    client: httpx.AsyncClient, make_model: MakeModel, valkey: Redis
) -> None:
    await make_model()
    former = await deploy(client, _CHAT)
    present = await deploy(client, _OTHER)
    await offer(valkey, former, "job-1", "job-2")
    await offer(valkey, present, "job-3")
    await JobQueue(valkey, former).settle("job-1", "gateway", JobState.COMPLETED, "stop", 1)
    body = (await client.get("/audit")).json()
    assert [each["revision_id"] for each in body["queues"]] == [former, present]
    assert body["queues"][1]["deployment"] == "chat"
    assert body["total"]["accepted"] == 3
    assert (body["total"]["completed"], body["total"]["pending"]) == (1, 2)
    assert body["holds"] is True


async def test_a_doctored_counter_makes_the_audit_fail_and_names_the_queue(
    client: httpx.AsyncClient, make_model: MakeModel, valkey: Redis
) -> None:
    await make_model()
    revision_id = await deploy(client, _CHAT)
    await offer(valkey, revision_id, "job-1")
    await valkey.hincrby(f"{base_key(revision_id)}:counts", "queued", 1)
    body = (await client.get("/audit")).json()
    assert body["holds"] is False
    [queue] = body["queues"]
    assert (queue["revision_id"], queue["holds"]) == (revision_id, False)
    assert queue["balance"]["missing"] == -1
    assert queue["differences"][0] == {"name": "queued", "counted": 2, "found": 1}


async def test_an_audit_wants_a_key(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/api/v1/audit")).status_code == 401
