"""The log of a durable request: one writer at a time, nothing twice, nothing after a loss."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from infra.connection import RedisClient
from infra.durable.idempotency import IdempotencyKeys, Repeated, key_name
from infra.durable.log import OPEN, DurableLog, Found, Written
from infra.durable.owners import Owners
from infra.durable.retrial import retry
from infra.wire import DurableRequest, JobSpec, LogEntry, Sampling
from tests.fixtures.waiting import eventually

REQUEST = DurableRequest(
    request_id="chatcmpl-1",
    tenant="t",
    endpoint="chat",
    model="chat",
    revision_id="rev",
    text_digest="d",
    created_at=1,
    choices=1,
    prompt_tokens=1,
    queue_limit_s=1.0,
    max_queued_jobs=1,
    jobs=[JobSpec("chatcmpl-1.0", "req-1", [1], Sampling(5))],
)
PIECES = [LogEntry(0, [1], "a"), LogEntry(0, [2], "b"), LogEntry(0, [3], "c")]
END = LogEntry(0, outcome="failed", reason="max_attempts")


@pytest.fixture
async def log(each_redis: RedisClient) -> DurableLog:
    log = DurableLog(each_redis, keep_s=60.0)
    assert await log.create(REQUEST, "first")
    return log


async def found(log: DurableLog) -> Found:
    found = await log.find(REQUEST.request_id)
    assert found is not None
    return found


async def texts(log: DurableLog, after: int = 0) -> list[tuple[int, str]]:
    return [(n, each.text) for n, each in await log.entries(REQUEST.request_id, after)]


async def test_an_id_is_taken_once(log: DurableLog) -> None:
    assert not await log.create(REQUEST, "second")
    assert (await found(log)).owner == "first"


async def test_entries_are_numbered_and_read_after_a_number(log: DurableLog) -> None:
    assert await log.append(REQUEST, 1, 1, PIECES) is Written.YES
    assert await texts(log) == [(1, "a"), (2, "b"), (3, "c")]
    assert await texts(log, after=2) == [(3, "c")]


async def test_an_append_that_is_repeated_writes_nothing_twice(log: DurableLog) -> None:
    await log.append(REQUEST, 1, 1, PIECES[:2])
    assert await log.append(REQUEST, 1, 1, PIECES) is Written.YES
    assert await texts(log) == [(1, "a"), (2, "b"), (3, "c")]


async def test_an_append_beyond_what_is_there_shows_a_loss(log: DurableLog) -> None:
    assert await log.append(REQUEST, 1, 3, PIECES) is Written.LOST
    assert await texts(log) == []


async def test_only_the_newest_claim_writes(log: DurableLog) -> None:
    claim = await log.claim(await found(log), "second")
    assert claim == 2
    assert await log.append(REQUEST, 1, 1, PIECES) is Written.NOT_OURS
    assert not await log.accept(REQUEST, 1)
    assert not await log.finish(REQUEST, 1, "completed")
    assert await log.append(REQUEST, 2, 1, PIECES) is Written.YES
    assert await log.finish(REQUEST, 2, "completed")


async def test_of_two_that_claim_one_wins(log: DurableLog) -> None:
    seen = await found(log)
    claims = await asyncio.gather(log.claim(seen, "second"), log.claim(seen, "third"))
    assert sorted(claims, key=str) == [2, None]


async def test_what_has_ended_is_neither_written_nor_claimed(log: DurableLog) -> None:
    await log.finish(REQUEST, 1, "completed")
    assert await log.append(REQUEST, 1, 1, PIECES) is Written.NOT_OURS
    assert await log.claim(await found(log), "second") is None


async def test_an_ended_answer_is_kept_for_a_while_and_an_open_one_for_ever(
    log: DurableLog, each_redis: RedisClient
) -> None:
    key = f"tamer:request:{{{REQUEST.request_id}}}"
    assert await each_redis.ttl(key) > 0, "nobody has accepted it yet"
    await log.accept(REQUEST, 1)
    await log.append(REQUEST, 1, 1, PIECES)
    assert await each_redis.ttl(key) == -1
    await log.finish(REQUEST, 1, "completed")
    assert 0 < await each_redis.ttl(key) <= 60
    assert 0 < await each_redis.ttl(f"{key}:log") <= 60


async def test_a_wish_to_cancel_is_a_mark_for_the_owner(log: DurableLog) -> None:
    await log.ask_to_cancel(REQUEST.request_id)
    [mark, gone] = await log.marks([REQUEST.request_id, "nobody"])
    assert (mark.claim, mark.cancelled) == (1, True)
    assert (gone.claim, gone.cancelled) == (0, False)
    assert (await found(log)).status == OPEN


async def test_a_failed_request_goes_on_without_its_failure(log: DurableLog) -> None:
    assert not await log.reopen(REQUEST, []), "it has not failed"
    await log.accept(REQUEST, 1)
    await log.append(REQUEST, 1, 1, [*PIECES, END])
    await log.finish(REQUEST, 1, "failed")
    assert await log.reopen(REQUEST, [4])
    again = await found(log)
    assert (again.status, again.owner, again.length, again.accepted) == (OPEN, "", 4, False)
    assert await texts(log) == [(1, "a"), (2, "b"), (3, "c")]
    claim = await log.claim(again, "second")
    assert claim is not None
    assert await log.append(REQUEST, claim, 5, [LogEntry(0, [4], "d")]) is Written.YES
    assert (await texts(log))[-1] == (5, "d")


async def test_a_discarded_request_never_was(log: DurableLog) -> None:
    await log.discard(REQUEST, 1)
    assert await log.find(REQUEST.request_id) is None


async def test_a_key_stands_for_the_first_that_takes_it(each_redis: RedisClient) -> None:
    keys = IdempotencyKeys(each_redis, keep_s=60.0)
    mine, other = Repeated("chatcmpl-1", "d"), Repeated("chatcmpl-2", "d")
    name = key_name("t", "k")
    assert await keys.take(name, mine) is None
    assert await keys.take(name, mine) is None, "asked again after a lost reply"
    assert await keys.take(name, other) == mine
    await keys.release(name, "chatcmpl-2")
    assert await keys.find(name) == mine, "only its own request gives a key back"
    await keys.release(name, "chatcmpl-1")
    assert await keys.take(name, other) is None


def test_a_key_is_its_tenants() -> None:
    names = {key_name(*pair) for pair in [("a", "bc"), ("ab", "c"), ("a", "c"), ("b", "c")]}
    assert len(names) == 4


async def test_an_owner_without_a_lease_is_silent(each_redis: RedisClient) -> None:
    owners = Owners(each_redis)
    await owners.add("first", "chatcmpl-1", lease_s=60.0)
    await owners.add("second", "chatcmpl-2", lease_s=60.0)
    assert await owners.silent() == []
    await owners.leave("first")
    assert await owners.silent() == ["first"]
    assert await owners.requests("first") == ["chatcmpl-1"]
    await owners.remove("first", "chatcmpl-1")
    assert await owners.requests("first") == []
    await owners.forget("first")
    assert await owners.silent() == []


async def test_a_retry_that_broke_off_is_completed_by_the_next(
    log: DurableLog, each_redis: RedisClient
) -> None:
    """Between the request that is open again and the word to the gateways."""
    await log.append(REQUEST, 1, 1, [END])
    await log.finish(REQUEST, 1, "failed")
    await log.reopen(REQUEST, [1])
    await retry(each_redis, 60.0, REQUEST.request_id)
    [nobody] = await Owners(each_redis).silent()
    assert await Owners(each_redis).requests(nobody) == [REQUEST.request_id]


async def test_readers_share_a_bounded_number_of_connections(
    valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.durable.log._MAX_WAITING", 2)
    log = DurableLog(valkey, keep_s=60.0)
    await log.create(REQUEST, "first")

    async def read() -> list[tuple[int, LogEntry]]:
        while not (entries := await log.next_entries(REQUEST.request_id, 0, 5.0)):
            pass
        return entries

    async def two_wait() -> bool:
        return bool((await valkey.info("clients"))["blocked_clients"] == 2)

    readers = [asyncio.create_task(read()) for _ in range(10)]
    await eventually(two_wait)
    await log.append(REQUEST, 1, 1, PIECES)
    assert [len(each) for each in await asyncio.gather(*readers)] == [3] * 10
