"""Small Redis rooms: the latest value, the projection, the registry, token and log streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from infra.connection import RedisClient
from infra.latest import Latest
from infra.log_stream import append_lines, read_lines
from infra.projection import (
    ProjectionPublisher,
    ProjectionReader,
    text_digest,
    wait_until_published,
)
from infra.registry import AgentRegistry, Registry, ring_controller
from infra.token_stream import TokenReader, TokenWriter
from infra.wire import (
    Assignment,
    Heartbeat,
    KeyEntry,
    Malformed,
    Projection,
    StepTokens,
    TextAssets,
    TokenEvent,
)

BEAT = Heartbeat("ins-1", wire_version=1, build="b", sequence=1, assignment_version=0)


async def test_a_late_reader_gets_the_newest_value_only(each_redis: RedisClient) -> None:
    writer, reader = Latest(each_redis, "k"), Latest(each_redis, "k")
    await writer.publish(b"old")
    await writer.publish(b"new")
    assert await reader.next(1.0) == b"new"
    assert await reader.next(0.01) is None


async def test_a_waiting_reader_wakes_at_a_change(each_redis: RedisClient) -> None:
    waiting = asyncio.create_task(Latest(each_redis, "k").next(10.0))
    await asyncio.sleep(0)
    await Latest(each_redis, "k").publish(b"now")
    assert await waiting == b"now"


async def test_a_projection_reaches_every_gateway(each_redis: RedisClient) -> None:
    projection = Projection(3, keys=[KeyEntry("key-1", "hash", "default", ("inference",))])
    await ProjectionPublisher(each_redis).publish(projection)
    for _ in range(2):
        assert await ProjectionReader(each_redis).next(1.0) == projection


async def test_text_assets_are_found_by_digest_and_checked(each_redis: RedisClient) -> None:
    assets = TextAssets("{}", chat_template="{{ messages }}", eos_token_ids=(2,))
    publisher, reader = ProjectionPublisher(each_redis), ProjectionReader(each_redis)
    digest = await publisher.publish_text(assets)
    assert digest == text_digest(assets)
    assert await reader.text(digest) == assets
    assert await reader.text("absent") is None
    packed: Any = await each_redis.get(f"tamer:text:{digest}")
    await each_redis.set("tamer:text:another", packed)
    with pytest.raises(Malformed, match="another digest"):
        await reader.text("another")


async def test_a_silent_agent_has_no_heartbeat(each_redis: RedisClient) -> None:
    await AgentRegistry(each_redis, "ins-1").beat(BEAT, ttl_s=60)
    assert await Registry(each_redis).heartbeats(["ins-1", "ins-2"]) == {"ins-1": BEAT}
    await each_redis.pexpire("tamer:instance:ins-1:heartbeat", 0)
    assert await Registry(each_redis).heartbeats(["ins-1"]) == {}


async def test_an_agent_hears_its_own_assignment(each_redis: RedisClient) -> None:
    await Registry(each_redis).assign(Assignment("ins-1", version=4))
    heard = await AgentRegistry(each_redis, "ins-1").next_assignment(1.0)
    assert heard == Assignment("ins-1", version=4)
    assert await AgentRegistry(each_redis, "ins-2").next_assignment(0.01) is None


async def test_heartbeats_of_many_instances_are_read_at_once(each_redis: RedisClient) -> None:
    """Of a cluster they lie on different shards."""
    ids = [f"ins-{number}" for number in range(20)]
    for each in ids:
        await AgentRegistry(each_redis, each).beat(Heartbeat(each, 1, "b", 1, 0), ttl_s=60)
    assert list(await Registry(each_redis).heartbeats(ids)) == ids
    await Registry(each_redis).forget("ins-0")
    assert "ins-0" not in await Registry(each_redis).heartbeats(ids)


async def test_a_projection_counts_as_known_while_somebody_repeats_it(
    each_redis: RedisClient,
) -> None:
    publisher = ProjectionPublisher(each_redis)
    assert not await wait_until_published(each_redis, 1, 10.0), "nobody publishes"
    await publisher.publish(Projection(1))
    assert not await wait_until_published(each_redis, 1, 0.01), "it is not newer"
    await publisher.publish(Projection(2))
    assert await wait_until_published(each_redis, 1, 10.0)


async def test_the_controller_wakes_at_its_bell_once(each_redis: RedisClient) -> None:
    for _ in range(3):
        await ring_controller(each_redis)
    assert await Registry(each_redis).wait_for_bell(1.0)
    assert not await Registry(each_redis).wait_for_bell(0.01)


async def test_each_consumer_reads_its_own_tokens_in_order(each_redis: RedisClient) -> None:
    def step(job: str, index: int) -> StepTokens:
        return StepTokens("rep-1", [TokenEvent(job, 1, index, [index])])

    writer = TokenWriter(each_redis)
    await writer.write({"gw-1": step("a", 0), "gw-2": step("b", 0)})
    await writer.write({"gw-1": step("a", 1)})
    reader = TokenReader(each_redis, "gw-1")
    assert await reader.read(1.0) == [step("a", 0), step("a", 1)]
    assert await reader.read(0.01) == []
    assert await TokenReader(each_redis, "gw-2").read(1.0) == [step("b", 0)]


async def test_log_lines_are_read_on_from_where_one_stopped(each_redis: RedisClient) -> None:
    await append_lines(each_redis, "rep-1", ["one", "two"])
    lines, position = await read_lines(each_redis, "rep-1")
    assert lines == ["one", "two"]
    await append_lines(each_redis, "rep-1", ["three"])
    assert (await read_lines(each_redis, "rep-1", position))[0] == ["three"]
