"""The same request again is the same answer again, whatever happened to the connection."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from infra.queue.queue import Full, JobQueue, Offer
from infra.states import JobState
from infra.wire import FinishReason
from tests.control_plane.gateway.conftest import MODEL, REVISION, Gateway, Replica
from tests.fixtures.waiting import eventually

BODY: dict[str, Any] = {"model": MODEL, "prompt": "x", "max_tokens": 10}
KEY = {"idempotency-key": "order-66"}


async def ask(gateway: Gateway, key: str = "order-66", **changes: Any) -> httpx.Response:
    async with gateway.http() as client:
        headers = {"idempotency-key": key}
        return await client.post("/v1/completions", json={**BODY, **changes}, headers=headers)


async def test_a_request_is_answered_again_from_its_log(gateway: Gateway, replica: Replica) -> None:
    asking = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    first = await asking
    again = await ask(gateway)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json()["choices"][0]["text"] == "abcd"
    replayed = [each.headers.get("idempotent-replayed") for each in (first, again)]
    assert replayed == [None, "true"]
    await gateway.settled(accepted=1, completed=1)


async def test_who_gave_up_a_stream_gets_the_whole_under_its_key_and_the_other_way_round(
    gateway: Gateway, replica: Replica
) -> None:
    asking = asyncio.create_task(ask(gateway, stream=True))
    await replica.answer("abcd")
    await asking
    assert (await ask(gateway)).json()["choices"][0]["text"] == "abcd"
    usage = {"include_usage": True}
    streamed = await ask(gateway, stream=True, stream_options=usage)
    assert _text(streamed.text) == "abcd"
    assert '"completion_tokens":4' in streamed.text
    await gateway.settled(accepted=1, completed=1)


async def test_the_stream_is_answered_again_event_by_event(
    gateway: Gateway, replica: Replica
) -> None:
    asking = asyncio.create_task(ask(gateway, stream=True))
    await replica.answer("abcd")
    first = (await asking).text
    assert "data: [DONE]" in first
    assert _data(first) == _data((await ask(gateway, stream=True)).text)
    await gateway.settled(accepted=1, completed=1)


async def test_requests_at_the_same_time_are_one(gateway: Gateway, replica: Replica) -> None:
    asking = [asyncio.create_task(ask(gateway)) for _ in range(5)]
    await replica.answer("abcd")
    answers = [await each for each in asking]
    assert {each.status_code for each in answers} == {200}
    assert len({each.json()["id"] for each in answers}) == 1
    await gateway.settled(accepted=1, completed=1)


async def test_a_client_that_leaves_finds_its_answer_when_it_comes_back(
    gateway: Gateway, replica: Replica
) -> None:
    async with (
        gateway.http() as client,
        client.stream("POST", "/v1/completions", json={**BODY, "stream": True}, headers=KEY),
    ):
        lease, _ = await replica.take()
        await replica.say(lease, 0, replica.ids("ab"))
    await replica.say(lease, 2, replica.ids("cd"), FinishReason.STOP)
    await gateway.settled(accepted=1, completed=1)
    again = await ask(gateway, stream=True)
    assert _text(again.text) == "abcd"


@pytest.mark.parametrize("change", [{"prompt": "y"}, {"max_tokens": 9}, {"temperature": 0.5}])
async def test_a_key_stands_for_one_request(
    gateway: Gateway, replica: Replica, change: dict[str, Any]
) -> None:
    asking = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    await asking
    other = await ask(gateway, **change)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_key_belongs_to_its_endpoint(gateway: Gateway, replica: Replica) -> None:
    asking = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    await asking
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    async with gateway.http() as client:
        reply = await client.post("/v1/chat/completions", json=chat, headers=KEY)
    assert reply.status_code == 422


@pytest.mark.parametrize("key", ["", "a b", "é".encode(), "x" * 256])
async def test_what_cannot_be_a_key_is_refused(gateway: Gateway, key: str | bytes) -> None:
    async with gateway.http() as client:
        headers = {b"idempotency-key": key if isinstance(key, bytes) else key.encode()}
        reply = await client.post("/v1/completions", json=BODY, headers=headers)  # type: ignore[arg-type]
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_idempotency_key"


async def test_a_request_that_was_refused_leaves_its_key_free(
    gateway: Gateway, replica: Replica
) -> None:
    await gateway.publish(max_queued_jobs=0)
    assert (await ask(gateway)).status_code == 429
    await gateway.publish(max_queued_jobs=10)
    asking = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    assert (await asking).status_code == 200
    await gateway.settled(accepted=1, completed=1)


async def test_a_refusal_says_how_long_a_replica_takes_to_boot(gateway: Gateway) -> None:
    await gateway.publish(max_queued_jobs=0, ready_replicas=0, boot_s=77.0)
    assert (await ask(gateway)).headers["retry-after"] == "77"


async def test_a_refusal_in_the_middle_takes_back_the_choices_before_it(
    gateway: Gateway, valkey: Redis
) -> None:
    await gateway.publish(max_queued_jobs=2)
    assert (await ask(gateway, n=3)).status_code == 429
    await gateway.settled(accepted=2, cancelled=2)
    assert [key async for key in valkey.scan_iter("tamer:request:*")] == []
    assert [key async for key in valkey.scan_iter("tamer:idempotency:*")] == []


async def test_a_request_that_failed_leaves_its_key_free(
    gateway: Gateway, replica: Replica
) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take()
    await replica.say(lease, 0, [], FinishReason.ERROR, error="no such kernel")
    assert (await asking).status_code == 500
    again = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    assert (await again).status_code == 200


async def test_a_request_that_expired_says_so_and_may_be_tried_again(
    gateway: Gateway, replica: Replica
) -> None:
    await gateway.publish(queue_limit_s=0.05)
    expired = await ask(gateway)
    assert expired.status_code == 503
    assert expired.json()["error"]["code"] == "queue_timeout"
    await gateway.publish(queue_limit_s=60.0)
    again = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    assert (await again).status_code == 200
    await gateway.settled(accepted=2, completed=1, expired=1)


async def test_what_is_not_durable_ends_with_its_client(gateway: Gateway, valkey: Redis) -> None:
    """The other side of the promise: without a key nothing is generated for nobody."""
    async with (
        gateway.http() as client,
        client.stream("POST", "/v1/completions", json={**BODY, "stream": True}),
    ):
        pass
    await gateway.settled(accepted=1, cancelled=1)


async def test_prompts_are_not_kept_when_a_request_has_ended(
    gateway: Gateway, replica: Replica
) -> None:
    asking = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    answer = (await asking).json()

    async def ended() -> bool:
        found = await gateway.services.durable.log.find(answer["id"])
        assert found is not None
        return found.status == JobState.COMPLETED.value and found.request.jobs == []

    await eventually(ended)
    assert (await JobQueue(gateway.services.jobs, REVISION).balance()).holds


def _data(stream: str) -> list[str]:
    return [line for line in stream.splitlines() if line.startswith(("data:", "id:"))]


def _text(stream: str) -> str:
    bodies = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(body) for body in bodies]
    return "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"])


@pytest.mark.parametrize("lost", [False, True])
async def test_a_key_is_free_though_its_gateway_died_before_it_said_so(
    gateway: Gateway, replica: Replica, valkey: Redis, lost: bool
) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take()
    [name] = [key async for key in valkey.scan_iter("tamer:idempotency:*")]
    kept = await valkey.get(name)
    await replica.say(lease, 0, [], FinishReason.ERROR, error="no such kernel")
    assert (await asking).status_code == 500

    async def released() -> bool:
        return not await valkey.exists(name)

    await eventually(released)
    await valkey.set(name, kept)
    if lost:
        await valkey.delete(*[key async for key in valkey.scan_iter("tamer:request:*")])
    again = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    assert (await again).status_code == 200


async def test_a_request_that_redis_took_without_saying_so_is_taken_back(
    gateway: Gateway, replica: Replica, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = JobQueue.offer

    async def reply_lost(self: JobQueue, offered: Offer, max_queued: int) -> JobState | Full:
        if offered.job_id.endswith(".1"):
            await offer(self, offered, max_queued)
            raise ConnectionError("no reply came")
        return await offer(self, offered, max_queued)

    await gateway.publish(queue_limit_s=0.3)
    monkeypatch.setattr(JobQueue, "offer", reply_lost)
    refused = await ask(gateway, n=2)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_away")
    monkeypatch.setattr(JobQueue, "offer", offer)
    await gateway.settled(accepted=2, cancelled=2)
    assert gateway.services.consumer.open_jobs == 0
    assert [key async for key in valkey.scan_iter("tamer:request:*")] == []
    await gateway.publish(queue_limit_s=60.0)
    again = asyncio.create_task(ask(gateway))
    await replica.answer("abcd")
    assert (await again).status_code == 200
