"""A gateway that is gone: its durable requests go on at another one, its interactive ones end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from control_plane.gateway.durable.adoption import Adoption
from control_plane.gateway.durable.run import DurableRun
from control_plane.gateway.text_models import TextModel
from infra.durable.log import DurableLog, Found
from infra.durable.owners import Owners
from infra.durable.retrial import request_of, retry
from infra.embedded import EmbeddedValkey
from infra.queue.queue import JobQueue
from infra.settings import Settings
from infra.states import JobState
from infra.wire import FinishReason, TextAssets
from tests.control_plane.gateway.conftest import KEY, MODEL, REVISION, Gateway, Replica
from tests.control_plane.gateway.durable.test_background import (
    begin,
    events,
    has_status,
    text_of,
)
from tests.control_plane.gateway.test_outages import start_gateway
from tests.fixtures.waiting import eventually

LEASE_S = 1.0
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"consumer_lease_s": LEASE_S})


@pytest.fixture
async def second(settings: Settings, valkey: Redis, assets: TextAssets) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings, valkey, assets)
    await gateway.start()
    await gateway.publish()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def doomed(
    valkey_server: EmbeddedValkey, tmp_path: Path, unused_port: int
) -> AsyncIterator[tuple[subprocess.Popen[bytes], httpx.AsyncClient]]:
    """A gateway that is a process of its own, and a client of it."""
    process = start_gateway(
        {
            **os.environ,
            "TAMER_HOME": str(tmp_path),
            "TAMER_JOBS_URL": valkey_server.url,
            "TAMER_PORT": str(unused_port),
            "TAMER_CONSUMER_LEASE_S": str(LEASE_S),
            "TAMER_SSE_COMMENT_S": "0.1",
        }
    )
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{unused_port}", headers=headers, timeout=30
    ) as client:

        async def ready() -> bool:
            try:
                return (await client.get("/v1/models")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(ready, deadline_s=30)
        yield process, client
    process.kill()
    process.wait()


async def test_a_killed_gateway_loses_interactive_requests_and_no_durable_one(
    gateway: Gateway,
    doomed: tuple[subprocess.Popen[bytes], httpx.AsyncClient],
    replica: Replica,
    valkey: Redis,
) -> None:
    process, client = doomed
    begun = (await client.post("/v1/chat/completions", json={**CHAT, "background": True})).json()
    durable, _ = await replica.take()
    await replica.say(durable, 0, replica.ids("abc"))
    log = DurableLog(valkey, 60.0)

    async def logged() -> bool:
        return len(await log.all_entries(begun["id"])) == 1

    await eventually(logged)

    async def attended() -> bool:
        """Until its first call a consumer has a longer lease."""
        [(_, until_ms)] = await valkey.zrange(
            f"tamer:{{{REVISION}:0}}:consumers", 0, -1, withscores=True
        )
        seconds, _ = await valkey.time()
        return bool(until_ms < (seconds + 10) * 1000)

    await eventually(attended)
    interactive = asyncio.create_task(
        client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    )
    taken, _ = await replica.take()
    process.send_signal(signal.SIGKILL)
    with pytest.raises(httpx.TransportError):
        await interactive

    again, spec = await replica.take()
    assert (again.job_id, again.attempt) == (durable.job_id, 2)
    assert spec.delivered == replica.ids("abc"), "what is in the log is not generated again"
    assert await replica.renew(durable, 9) == [durable.job_id], "the old attempt is fenced"
    await replica.say(durable, 3, replica.ids("XYZ"), FinishReason.STOP)
    await replica.say(again, 3, replica.ids("def"), FinishReason.STOP)
    await has_status(gateway, begun["id"], "completed")
    assert text_of(await events(gateway, begun["id"])) == "abcdef"

    queue = JobQueue(valkey, REVISION)

    async def lost() -> bool:
        await queue.sweep()  # as the controller does
        return (await queue.balance()).failed == 1

    await eventually(lost)
    assert await replica.renew(taken, 1) == [taken.job_id]
    await gateway.settled(accepted=2, completed=1, failed=1)


async def test_a_reader_at_another_gateway_does_not_notice(
    gateway: Gateway,
    doomed: tuple[subprocess.Popen[bytes], httpx.AsyncClient],
    replica: Replica,
) -> None:
    process, client = doomed
    begun = (await client.post("/v1/chat/completions", json={**CHAT, "background": True})).json()
    reading = asyncio.create_task(events(gateway, begun["id"]))
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("abc"))

    async def heard() -> bool:
        return bool(await gateway.services.durable.log.all_entries(begun["id"]))

    await eventually(heard)
    process.kill()
    again, _ = await replica.take()
    await replica.say(again, 3, replica.ids("def"), FinishReason.STOP)
    assert text_of(await reading) == "abcdef"


async def test_a_gateway_that_is_stopped_leaves_its_durable_requests(
    gateway: Gateway, second: Gateway, replica: Replica
) -> None:
    begun = await begin(gateway, n=2)
    first, _ = await replica.take()
    await replica.say(first, 0, replica.ids("ab"), FinishReason.STOP)
    other, _ = await replica.take()
    await replica.say(other, 0, replica.ids("c"))

    async def half_done() -> bool:
        return len(await gateway.services.durable.log.all_entries(begun["id"])) >= 3

    await eventually(half_done)
    await gateway.stop()
    again, spec = await replica.take()
    assert (again.job_id, spec.delivered) == (other.job_id, replica.ids("c"))
    await replica.say(again, 1, replica.ids("d"), FinishReason.STOP)
    done = await has_status(second, begun["id"], "completed")
    texts = [choice["message"]["content"] for choice in done["choices"]]
    assert sorted(texts) == ["ab", "cd"]
    await second.settled(accepted=2, completed=2)
    await gateway.start()


async def test_a_queued_request_is_adopted_without_a_new_attempt(
    gateway: Gateway, second: Gateway, replica: Replica
) -> None:
    begun = await begin(gateway)
    await gateway.stop()

    async def adopted() -> bool:
        return second.services.durable.open_requests == 1

    await eventually(adopted)
    lease, _ = await replica.take()
    assert lease.attempt == 1
    await replica.say(lease, 0, replica.ids("ab"), FinishReason.STOP)
    await has_status(second, begun["id"], "completed")
    await gateway.start()


async def test_a_gateway_that_was_only_silent_cannot_write_again(
    gateway: Gateway, second: Gateway, replica: Replica
) -> None:
    """It is paused for longer than its lease, and comes back in the middle of the other's work."""
    begun = await begin(gateway)
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("ab"))
    durable = gateway.services.durable

    async def logged() -> bool:
        return bool(await durable.log.all_entries(begun["id"]))

    await eventually(logged)
    found = await durable.log.find(begun["id"])
    assert found is not None
    run = durable.run(begun["id"])
    assert run is not None
    # The other one claims as it does after the lease of the first.
    await second.services.durable._inheritance._adopt(begun["id"], found.owner)
    again, spec = await replica.take()
    assert (again.attempt, spec.delivered) == (2, replica.ids("ab"))
    await replica.say(lease, 2, replica.ids("XY"))

    async def let_go() -> bool:
        return durable.run(begun["id"]) is None and not gateway.services.consumer.open_jobs

    await eventually(let_go)
    await replica.say(again, 2, replica.ids("cd"), FinishReason.STOP)
    await has_status(gateway, begun["id"], "completed")
    assert text_of(await events(gateway, begun["id"])) == "abcd"
    await gateway.settled(accepted=1, completed=1)


async def test_a_request_whose_end_is_logged_but_not_settled_is_settled(
    gateway: Gateway, second: Gateway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway dies between the log and the queue."""

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(gateway.services.consumer, "settle", never)
    begun = await begin(gateway)
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("ab"), FinishReason.STOP)
    await has_status(second, begun["id"], "completed")
    assert (await gateway.queue.balance()).pending == 1
    await gateway.stop()
    await second.settled(accepted=1, completed=1)
    await gateway.start()


async def test_a_request_that_cannot_be_read_any_more_fails_with_a_reason(
    gateway: Gateway, second: Gateway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await begin(gateway)
    await gateway.publisher.drop_text(gateway.route_digest)
    monkeypatch.setattr("control_plane.gateway.durable.inheritance._TEXT_LIMIT_S", 0.0)
    await gateway.stop()
    failed = await has_status(second, begun["id"], JobState.FAILED.value)
    assert "no longer served" in failed["error"]["message"]
    await second.settled(accepted=1, failed=1)
    await gateway.start()


async def test_a_dead_letter_that_is_retried_goes_on(
    gateway: Gateway, replica: Replica, valkey: Redis
) -> None:
    begun = await begin(gateway)
    for index, text in enumerate("abc"):
        lease, spec = await replica.take()
        assert spec.delivered == replica.ids("abc"[:index])
        await replica.say(lease, index, replica.ids(text), FinishReason.RELEASED)
    await has_status(gateway, begun["id"], "failed")
    [letter] = await gateway.queue.dead_letters()
    assert (letter.attempts, letter.durable) == (3, True)
    await retry(valkey, 60.0, request_of(letter.job_id))
    lease, spec = await replica.take()
    assert (lease.attempt, spec.delivered) == (1, replica.ids("abc"))
    await replica.say(lease, 3, replica.ids("def"), FinishReason.STOP)
    await has_status(gateway, begun["id"], "completed")
    assert text_of(await events(gateway, begun["id"])) == "abcdef"
    await gateway.settled(accepted=2, failed=1, completed=1)


async def test_what_is_logged_until_the_claim_is_not_lost(
    gateway: Gateway, second: Gateway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silent gateway wakes up between the other's look at the request and its claim."""
    begun = await begin(gateway)
    lease, _ = await replica.take()
    await replica.say(lease, 0, replica.ids("ab"))
    log, claim = gateway.services.durable.log, DurableLog.claim

    async def has_entries(count: int) -> bool:
        return len(await log.all_entries(begun["id"])) == count

    await eventually(lambda: has_entries(1))

    async def late_claim(self: DurableLog, found: Found, owner: str) -> int | None:
        await replica.say(lease, 2, replica.ids("cd"))
        await eventually(lambda: has_entries(2))
        return await claim(self, found, owner)

    monkeypatch.setattr(DurableLog, "claim", late_claim)
    await second.services.durable._inheritance._adopt(begun["id"], gateway.services.consumer.id)
    again, spec = await replica.take()
    assert spec.delivered == replica.ids("abcd")
    await replica.say(again, 4, replica.ids("ef"), FinishReason.STOP)
    await has_status(second, begun["id"], "completed")
    assert text_of(await events(second, begun["id"])) == "abcdef"


async def test_a_claim_whose_reply_was_lost_loses_no_request(
    gateway: Gateway, second: Gateway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of Redis sends a command again when its connection breaks before the reply."""
    claim = DurableLog.claim

    async def claim_sent_twice(self: DurableLog, found: Found, owner: str) -> int | None:
        monkeypatch.setattr(DurableLog, "claim", claim)
        assert await claim(self, found, owner) is not None
        return await claim(self, found, owner)

    begun = await begin(gateway)
    monkeypatch.setattr(DurableLog, "claim", claim_sent_twice)
    await gateway.stop()

    async def adopted() -> bool:
        return second.services.durable.run(begun["id"]) is not None

    await eventually(adopted)
    await replica.answer("abcd")
    await has_status(second, begun["id"], "completed")
    await second.settled(accepted=1, completed=1)
    await gateway.start()


async def test_a_request_that_cannot_be_understood_holds_up_no_other(
    gateway: Gateway, second: Gateway, replica: Replica, valkey: Redis
) -> None:
    begun = [await begin(gateway) for _ in range(2)]
    bad, good = sorted(each["id"] for each in begun)
    await valkey.xadd(f"tamer:request:{{{bad}}}:log", {b"entry": b"\xc1"}, id="1-0")
    await valkey.hset(f"tamer:request:{{{bad}}}", "length", 1)
    await gateway.stop()

    async def adopted() -> bool:
        return second.services.durable.run(good) is not None

    await eventually(adopted)
    await replica.answer("abcd", jobs=2)
    await has_status(second, good, "completed")
    await gateway.start()


async def test_what_takes_long_to_adopt_costs_a_gateway_nothing_of_its_own(
    gateway: Gateway,
    second: Gateway,
    replica: Replica,
    valkey: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The queue of one request cannot be reached, for longer than the gateway's own lease."""
    adopting, go_on = asyncio.Event(), asyncio.Event()
    resume = Adoption.resume

    async def slow(self: Adoption, found: Found, text: TextModel) -> DurableRun:
        adopting.set()
        await go_on.wait()
        return await resume(self, found, text)

    monkeypatch.setattr(Adoption, "resume", slow)
    own = await begin(second)
    await replica.take()
    await begin(gateway)
    await gateway.stop()
    await adopting.wait()
    owners, owner = Owners(valkey), second.services.consumer.id
    await owners.leave(owner)

    async def renewed() -> bool:
        return owner not in await owners.silent()

    await eventually(renewed)
    async with second.http() as client:
        await client.post(f"/v1/chat/completions/{own['id']}/cancel")
    await has_status(second, own["id"], "cancelled")
    go_on.set()
    await gateway.start()


async def test_a_request_that_is_adopted_with_its_ends_logged_ends_as_the_first_says(
    gateway: Gateway, second: Gateway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choices before the one that failed were cancelled because of it."""
    begun = await begin(gateway, n=2)
    leases = sorted([(await replica.take())[0] for _ in range(2)], key=lambda each: each.job_id)
    log, finish = gateway.services.durable.log, DurableLog.finish

    async def cut_off(*_: object) -> bool:
        await asyncio.Event().wait()
        return False

    async def all_ended() -> bool:
        return sum(bool(entry.outcome) for _, entry in await log.all_entries(begun["id"])) == 2

    monkeypatch.setattr(DurableLog, "finish", cut_off)
    await replica.say(leases[1], 0, [], FinishReason.ERROR, error="no such kernel")
    await eventually(all_ended)
    await gateway.stop()
    monkeypatch.setattr(DurableLog, "finish", finish)

    async def ended() -> str:
        found = await second.services.durable.log.find(begun["id"])
        assert found is not None
        return "" if found.status == "open" else found.status

    assert await eventually(ended) == "failed"
    await gateway.start()
