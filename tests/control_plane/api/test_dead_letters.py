from __future__ import annotations

import httpx
import pytest
from redis.asyncio import Redis

from infra.durable.log import OPEN, DurableLog
from infra.queue.queue import JobQueue, Offer
from infra.wire import DurableRequest, JobSpec, LogEntry, Sampling
from tests.control_plane.api.conftest import MakeModel
from tests.control_plane.api.test_audit import deploy

_CHAT = {"name": "chat", "model": "smollm2"}
_REQUEST = "chatcmpl-1"


@pytest.fixture
async def revision_id(client: httpx.AsyncClient, make_model: MakeModel) -> str:
    await make_model()
    return await deploy(client, _CHAT)


async def bury(valkey: Redis, revision_id: str, job_id: str, *, durable: bool) -> None:
    """Let a job lose the only attempt that it may have."""
    queue = JobQueue(valkey, revision_id)
    offered = Offer(job_id, "gateway", b"spec", 10, 10, 60.0, tenant="acme", durable=durable)
    await queue.offer(offered, 100)
    await queue.lease("rep-1", 1, 100, 0.0)
    await queue.sweep()
    assert await queue.reoffer(job_id, "gateway", 1, b"spec", max_attempts=1) is None


def _request(revision_id: str) -> DurableRequest:
    jobs = [JobSpec(f"{_REQUEST}.{choice}", "req", [1], Sampling(5)) for choice in range(2)]
    return DurableRequest(
        _REQUEST, "acme", "chat", "chat", revision_id, "text", 1, 2, 1, 9.0, 9, jobs=jobs
    )


async def fail(valkey: Redis, revision_id: str) -> DurableLog:
    """A request whose first choice was completed and whose second is a dead letter."""
    log, request = DurableLog(valkey, 60.0), _request(revision_id)
    await log.create(request, "gateway")
    await log.accept(request, 1)
    ends = [
        LogEntry(0, [1], "a"),
        LogEntry(1, [2], "b"),
        LogEntry(0, outcome="completed", finish="stop", output_tokens=1),
        LogEntry(1, outcome="failed", reason="max_attempts"),
    ]
    await log.append(request, 1, 1, ends)
    await log.finish(request, 1, "failed")
    return log


async def test_a_dead_letter_says_whose_it_is_and_what_happened(
    client: httpx.AsyncClient, valkey: Redis, revision_id: str
) -> None:
    await bury(valkey, revision_id, "job-1", durable=False)
    [letter] = (await client.get("/dead-letters")).json()["data"]
    assert (letter["job_id"], letter["deployment"], letter["tenant"]) == ("job-1", "chat", "acme")
    assert (letter["attempts"], letter["cause"]) == (1, "lease_expired rep-1")
    assert letter["durable"] is False
    other = await client.get("/dead-letters", params={"deployment": "another"})
    assert other.json()["data"] == []


async def test_a_durable_request_goes_on_from_what_was_delivered(
    client: httpx.AsyncClient, valkey: Redis, revision_id: str
) -> None:
    await bury(valkey, revision_id, f"{_REQUEST}.1", durable=True)
    log = await fail(valkey, revision_id)
    answer = await client.post(f"/dead-letters/{_REQUEST}.1/retry")
    assert (answer.status_code, answer.json()["request_id"]) == (202, _REQUEST)
    found = await log.find(_REQUEST)
    assert found is not None
    assert (found.status, found.owner) == (OPEN, "")
    entries = [entry for _, entry in await log.all_entries(_REQUEST)]
    assert [entry.text for entry in entries if not entry.outcome] == ["a", "b"]
    assert [entry.choice for entry in entries if entry.outcome] == [0], "what ended well stays"
    assert (await client.get("/dead-letters")).json()["data"] == []
    again = await client.post(f"/dead-letters/{_REQUEST}.1/retry")
    assert again.status_code == 404


async def test_an_interactive_job_cannot_be_retried(
    client: httpx.AsyncClient, valkey: Redis, revision_id: str
) -> None:
    await bury(valkey, revision_id, "job-1", durable=False)
    answer = await client.post("/dead-letters/job-1/retry")
    assert answer.status_code == 409
    assert "client of this request has gone" in answer.json()["detail"]
    assert len((await client.get("/dead-letters")).json()["data"]) == 1


async def test_a_request_that_is_not_kept_any_more_cannot_be_retried(
    client: httpx.AsyncClient, valkey: Redis, revision_id: str
) -> None:
    await bury(valkey, revision_id, f"{_REQUEST}.1", durable=True)
    answer = await client.post(f"/dead-letters/{_REQUEST}.1/retry")
    assert answer.status_code == 409
    assert "not kept any more" in answer.json()["detail"]


async def test_an_unknown_letter_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.post("/dead-letters/nobody/retry")).status_code == 404
