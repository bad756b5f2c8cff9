"""A stream survives its worker (DESIGN promises 1, 2, 3), over the real queue and token stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import msgspec
import openai
from redis.asyncio import Redis

from infra.queue.queue import Lease
from infra.states import JobState
from infra.token_stream import TokenWriter
from infra.wire import FinishReason, JobSpec, StepTokens, TokenEvent
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.fixtures.waiting import eventually

BODY = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True}
TEXT = "abcdefghij"


async def read_text(stream: AsyncIterator[openai.types.chat.ChatCompletionChunk]) -> str:
    text = ""
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
    return text


async def ask(gateway: Gateway) -> str:
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
        )
        return await read_text(stream)


async def finish(replica: Replica, lease: Lease, spec: JobSpec) -> None:
    """Say what is left of the text."""
    start = len(spec.delivered)
    await replica.say(lease, start, replica.ids(TEXT)[start:], FinishReason.STOP)


async def test_a_stream_goes_on_when_the_lease_of_its_replica_runs_out(
    gateway: Gateway, replica: Replica
) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take(ttl_s=0.3)
    await replica.say(lease, 0, replica.ids(TEXT)[:4])
    again, spec = await replica.take()
    assert again.job_id == lease.job_id
    assert again.attempt == 2
    assert spec.delivered == replica.ids(TEXT)[:4]
    await finish(replica, again, spec)
    assert await asking == TEXT
    await gateway.settled(accepted=1, completed=1)


async def test_an_old_attempt_is_not_heard(gateway: Gateway, replica: Replica) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take(ttl_s=0.3)
    await replica.say(lease, 0, replica.ids("ab"))
    again, spec = await replica.take()
    await replica.say(lease, 2, replica.ids("XYZ"), FinishReason.STOP)
    await finish(replica, again, spec)
    assert await asking == TEXT


async def test_a_gap_is_an_expiry(gateway: Gateway, replica: Replica) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("abc"))
    await replica.say(lease, 5, replica.ids("fgh"))
    again, spec = await replica.take()
    assert spec.delivered == replica.ids("abc")
    assert await replica.renew(lease, 8) == [lease.job_id], "the old attempt is fenced"
    await finish(replica, again, spec)
    assert await asking == TEXT


async def test_repeats_and_overlaps_reach_the_client_once(
    gateway: Gateway, replica: Replica
) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("abc"))
    await replica.say(lease, 0, replica.ids("abc"))
    await replica.say(lease, 1, replica.ids("bcdef"))
    await replica.say(lease, 6, replica.ids("ghij"), FinishReason.STOP)
    await replica.say(lease, 6, replica.ids("ghij"), FinishReason.STOP)
    assert await asking == TEXT


async def test_a_released_job_is_offered_again_at_once(gateway: Gateway, replica: Replica) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("ab"), FinishReason.RELEASED)
    again, spec = await asyncio.wait_for(replica.take(), 0.9)
    assert spec.delivered == replica.ids("ab")
    await finish(replica, again, spec)
    assert await asking == TEXT


async def test_the_next_attempt_is_the_first_but_for_what_was_delivered(
    gateway: Gateway, replica: Replica
) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, first = await replica.take()
    assert first.cache_salt == "tenant-1", "cached prefixes are a tenant's own"
    await replica.say(lease, 0, replica.ids("ab"), FinishReason.RELEASED)
    again, spec = await replica.take()
    assert spec == msgspec.structs.replace(first, delivered=replica.ids("ab"))
    await finish(replica, again, spec)
    assert await asking == TEXT


async def test_a_job_that_never_succeeds_ends_with_a_reason(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        asking = asyncio.create_task(
            client.post("/v1/completions", json={"model": MODEL, "prompt": "x"})
        )
        for _ in range(gateway.settings.max_attempts):
            lease, _ = await replica.take()
            await replica.say(lease, 0, [], FinishReason.RELEASED)
        reply = await asking
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "max_attempts"
    await gateway.settled(accepted=1, failed=1)


async def test_a_job_that_an_engine_refuses_fails_with_its_words(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        asking = asyncio.create_task(
            client.post("/v1/completions", json={"model": MODEL, "prompt": "x"})
        )
        lease, _ = await replica.take()
        await replica.say(lease, 0, [], FinishReason.ERROR, error="no room for it")
        reply = await asking
    assert reply.status_code == 500
    assert "no room for it" in reply.json()["error"]["message"]
    assert reply.headers["x-should-retry"] == "false"
    await gateway.settled(accepted=1, failed=1)


async def test_an_error_in_mid_stream_is_an_event_and_the_end(
    gateway: Gateway, replica: Replica
) -> None:
    async with (
        gateway.http() as client,
        client.stream("POST", "/v1/chat/completions", json=BODY) as reply,
    ):
        lease, _ = await replica.take()
        await replica.say(lease, 0, replica.ids("ab"))
        await replica.say(lease, 2, replica.ids("c"), FinishReason.ERROR, error="broken")
        lines = [line async for line in reply.aiter_lines() if line.startswith("data:")]
    assert "broken" in json.loads(lines[-1].removeprefix("data: "))["error"]["message"]
    assert all("[DONE]" not in line for line in lines)


async def test_a_job_no_replica_takes_in_time_expires(gateway: Gateway) -> None:
    await gateway.publish(queue_limit_s=0.2)
    async with gateway.http() as client:
        reply = await client.post("/v1/completions", json={"model": MODEL, "prompt": "x"})
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "queue_timeout"
    assert int(reply.headers["retry-after"]) > 0
    await gateway.settled(accepted=1, expired=1)


async def test_a_full_queue_refuses_and_keeps_nothing(gateway: Gateway) -> None:
    await gateway.publish(max_queued_jobs=2)
    async with gateway.http() as client:
        reply = await client.post("/v1/completions", json={"model": MODEL, "prompt": "x", "n": 3})
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) > 0
    await gateway.settled(accepted=2, cancelled=2)
    assert gateway.services.consumer.open_jobs == 0


async def test_a_waiting_stream_has_headers_and_comments_and_calls_for_replicas(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    await gateway.publish(ready_replicas=0)
    async with (
        gateway.http() as client,
        client.stream("POST", "/v1/chat/completions", json=BODY) as reply,
    ):
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.aiter_lines()
        assert await anext(lines) == ": waiting for a replica"
        assert await valkey.llen("tamer:controller:bell") == 1
        serving = asyncio.create_task(replica.answer("ok"))
        rest = [line async for line in lines]
        await serving
    assert rest[-2] == "data: [DONE]"


async def _leave(gateway: Gateway, replica: Replica, streaming: bool, leased: bool) -> Lease | None:
    """Ask, let it come as far as said, and hang up."""
    client = gateway.http()
    body = {**BODY, "stream": streaming}
    asking = asyncio.create_task(_post(client, body))
    lease = (await replica.take())[0] if leased else None
    if lease is not None:
        await replica.say(lease, 0, replica.ids("ab"))

    async def pending() -> bool:
        return (await gateway.queue.balance()).pending == 1

    await eventually(pending)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await client.aclose()
    return lease


async def _post(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        await reply.aread()


async def test_hanging_up_cancels_a_queued_job(gateway: Gateway, replica: Replica) -> None:
    for number, streaming in enumerate((False, True), start=1):
        await _leave(gateway, replica, streaming, leased=False)
        await gateway.settled(accepted=number, cancelled=number)
    assert gateway.services.consumer.open_jobs == 0


async def test_hanging_up_stops_a_running_job(gateway: Gateway, replica: Replica) -> None:
    for number, streaming in enumerate((False, True), start=1):
        lease = await _leave(gateway, replica, streaming, leased=True)
        assert lease is not None
        await replica.told_to_stop(lease)
        await gateway.settled(accepted=number, cancelled=number)


async def test_a_stopping_gateway_ends_its_jobs_with_a_reason(
    gateway: Gateway, replica: Replica
) -> None:
    async with gateway.http() as client:
        asking = asyncio.create_task(
            client.post("/v1/completions", json={"model": MODEL, "prompt": "x"})
        )
        await replica.take()
        await gateway.services.consumer.close()
        reply = await asking
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "gateway_stopped"
    await gateway.settled(accepted=1, failed=1)


async def test_a_queue_that_comes_back_empty_ends_open_requests(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    async with gateway.http() as client:
        asking = asyncio.create_task(
            client.post("/v1/completions", json={"model": MODEL, "prompt": "x"})
        )
        await replica.take()

        async def known_epoch() -> bool:
            return bool(await valkey.exists("tamer:epoch"))

        await eventually(known_epoch)
        await valkey.flushall()
        reply = await asking
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "queue_lost"


async def test_events_nobody_can_use_do_not_deafen_the_gateway(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, spec = await replica.take()
    writer = TokenWriter(valkey)
    odd = [
        TokenEvent("job-unknown", 1, 0, [1]),
        TokenEvent(lease.job_id, 99, 0, [1]),
        TokenEvent(lease.job_id, lease.attempt, -3, [1]),
    ]
    await writer.write({lease.consumer: StepTokens("replica-2", odd)})
    await valkey.xadd(f"tamer:tokens:{lease.consumer}", {b"step": b"\xc1 no message"})
    await finish(replica, lease, spec)
    assert await asking == TEXT


async def test_a_job_of_ours_that_is_not_awaited_is_cancelled(
    gateway: Gateway, replica: Replica
) -> None:
    """What a reply lost on its way can leave behind."""
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take(ttl_s=0.3)
    consumer = gateway.services.consumer
    consumer._open.remove(lease.job_id)

    async def cancelled() -> bool:
        return (await gateway.queue.balance()).cancelled == 1

    await eventually(cancelled)
    assert not await gateway.queue.settle(lease.job_id, consumer.id, JobState.FAILED, "", 0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
