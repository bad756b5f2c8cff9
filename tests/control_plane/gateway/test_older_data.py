"""Redis comes back with older data: it knows less of an open job than its gateway does."""

from __future__ import annotations

import asyncio

import httpx
from redis.asyncio import Redis
from tokenizers import Tokenizer

from infra.wire import FinishReason
from tests.control_plane.gateway.conftest import MODEL, Gateway, Replica
from tests.fixtures.redis_copy import RedisCopy

BODY = {"model": MODEL, "prompt": "x"}
TEXT = "abcdefghij"


async def ask(gateway: Gateway) -> httpx.Response:
    async with gateway.http() as client:
        return await client.post("/v1/completions", json=BODY)


def lost(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and answer.json()["error"]["code"] == "queue_lost"


async def new_requests_work(gateway: Gateway, replica: Replica) -> None:
    asking = asyncio.create_task(ask(gateway))
    await replica.answer("fine")
    assert (await asking).json()["choices"][0]["text"] == "fine"


async def test_a_job_that_was_orphaned_long_ago_ends_with_a_reason(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    asking = asyncio.create_task(ask(gateway))
    await replica.take(ttl_s=0.3)
    older = await RedisCopy.of(valkey)
    lease, _ = await replica.take()
    assert lease.attempt == 2
    await older.put_back(valkey)
    assert lost(await asking)
    await gateway.settled(accepted=1, failed=1)
    await new_requests_work(gateway, replica)


async def test_a_job_that_waits_as_an_older_attempt_ends_when_that_attempt_does(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    asking = asyncio.create_task(ask(gateway))
    await replica.queue_holds(1)
    older = await RedisCopy.of(valkey)
    await replica.take(ttl_s=0.3)
    lease, _ = await replica.take()
    assert lease.attempt == 2
    await replica.say(lease, 0, replica.ids(TEXT)[:4])
    await older.put_back(valkey)
    again, _ = await replica.take(ttl_s=0.3)
    assert again.attempt == 1
    await replica.say(again, 0, replica.ids("never heard"), FinishReason.STOP)
    assert lost(await asking)
    await gateway.settled(accepted=1, failed=1)


async def test_one_attempt_that_is_leased_twice_speaks_with_one_voice(
    gateway: Gateway, replica: Replica, valkey: Redis, tokenizer: Tokenizer
) -> None:
    """The lease was lost, the job was not: its first replica does not know that yet."""
    other = Replica(valkey, tokenizer, "replica-2")
    asking = asyncio.create_task(ask(gateway))
    await replica.queue_holds(1)
    older = await RedisCopy.of(valkey)
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids(TEXT)[:4])
    await older.put_back(valkey, but=(b"tamer:tokens:",))
    twin, _ = await other.take()
    assert (twin.job_id, twin.attempt) == (lease.job_id, lease.attempt)
    await other.say(twin, 0, other.ids("ABCDEFGHIJ"), FinishReason.STOP)
    again, spec = await other.take()
    assert spec.delivered == replica.ids(TEXT)[:4]
    await replica.say(lease, 4, replica.ids("XYZ"))
    await other.say(again, 4, other.ids(TEXT)[4:], FinishReason.STOP)
    assert (await asking).json()["choices"][0]["text"] == TEXT
    await gateway.settled(accepted=1, completed=1)


async def test_a_job_that_had_ended_and_is_back_is_ended_again(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    asking = asyncio.create_task(ask(gateway))
    lease, _ = await replica.take(ttl_s=0.5)
    older = await RedisCopy.of(valkey)
    await replica.say(lease, 0, replica.ids(TEXT), FinishReason.STOP)
    assert (await asking).json()["choices"][0]["text"] == TEXT
    await gateway.settled(completed=1)
    await older.put_back(valkey)
    await gateway.settled(accepted=1, cancelled=1)


async def test_a_reader_who_is_ahead_of_an_older_log_is_told(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    """A durable request ends with a reason in the older log, before the place he waits at."""
    body = {**BODY, "background": True, "stream": True}
    async with (
        gateway.http() as client,
        client.stream("POST", "/v1/completions", json=body) as reply,
    ):
        lines = reply.aiter_lines()
        lease, _ = await replica.take()
        older = await RedisCopy.of(valkey)
        for index, token in enumerate(replica.ids("abc")):
            await replica.say(lease, index, [token])
            while not (await anext(lines)).startswith("id: "):
                pass
        await older.put_back(valkey, but=(b"tamer:tokens:",))
        await replica.say(lease, 3, replica.ids("d"))
        async with asyncio.timeout(10):
            rest = [line async for line in lines]
    assert '"queue_lost"' in "".join(rest)
    await gateway.settled(accepted=1)
