"""Small Redis rooms: the latest value, the projection, the registry, token and log streams."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from infra.latest import Latest
from infra.log_stream import append_lines, read_lines
from infra.projection import ProjectionPublisher, ProjectionReader, text_digest
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


async def test_a_late_reader_gets_the_newest_value_only(valkey: Redis) -> None:
    writer, reader = Latest(valkey, "k"), Latest(valkey, "k")
    await writer.publish(b"old")
    await writer.publish(b"new")
    assert await reader.next(1.0) == b"new"
    assert await reader.next(0.01) is None


async def test_a_waiting_reader_wakes_at_a_change(valkey: Redis) -> None:
    waiting = asyncio.create_task(Latest(valkey, "k").next(10.0))
    await asyncio.sleep(0)
    await Latest(valkey, "k").publish(b"now")
    assert await waiting == b"now"


async def test_a_projection_reaches_every_gateway(valkey: Redis) -> None:
    projection = Projection(3, keys=[KeyEntry("key-1", "hash", "default", ("inference",))])
    await ProjectionPublisher(valkey).publish(projection)
    for _ in range(2):
        assert await ProjectionReader(valkey).next(1.0) == projection


async def test_text_assets_are_found_by_digest_and_checked(valkey: Redis) -> None:
    assets = TextAssets("{}", chat_template="{{ messages }}", eos_token_ids=(2,))
    publisher, reader = ProjectionPublisher(valkey), ProjectionReader(valkey)
    digest = await publisher.publish_text(assets)
    assert digest == text_digest(assets)
    assert await reader.text(digest) == assets
    assert await reader.text("absent") is None
    await valkey.rename(f"tamer:text:{digest}", "tamer:text:another")
    with pytest.raises(Malformed, match="another digest"):
        await reader.text("another")


async def test_a_silent_agent_has_no_heartbeat(valkey: Redis) -> None:
    await AgentRegistry(valkey, "ins-1").beat(BEAT, ttl_s=60)
    assert await Registry(valkey).heartbeats(["ins-1", "ins-2"]) == {"ins-1": BEAT}
    await valkey.pexpire("tamer:instance:ins-1:heartbeat", 0)
    assert await Registry(valkey).heartbeats(["ins-1"]) == {}


async def test_an_agent_hears_its_own_assignment(valkey: Redis) -> None:
    await Registry(valkey).assign(Assignment("ins-1", version=4))
    heard = await AgentRegistry(valkey, "ins-1").next_assignment(1.0)
    assert heard == Assignment("ins-1", version=4)
    assert await AgentRegistry(valkey, "ins-2").next_assignment(0.01) is None


async def test_the_controller_wakes_at_its_bell_once(valkey: Redis) -> None:
    for _ in range(3):
        await ring_controller(valkey)
    assert await Registry(valkey).wait_for_bell(1.0)
    assert not await Registry(valkey).wait_for_bell(0.01)


async def test_each_consumer_reads_its_own_tokens_in_order(valkey: Redis) -> None:
    def step(job: str, index: int) -> StepTokens:
        return StepTokens("rep-1", [TokenEvent(job, 1, index, [index])])

    writer = TokenWriter(valkey)
    await writer.write({"gw-1": step("a", 0), "gw-2": step("b", 0)})
    await writer.write({"gw-1": step("a", 1)})
    reader = TokenReader(valkey, "gw-1")
    assert await reader.read(1.0) == [step("a", 0), step("a", 1)]
    assert await reader.read(0.01) == []
    assert await TokenReader(valkey, "gw-2").read(1.0) == [step("b", 0)]


async def test_log_lines_are_read_on_from_where_one_stopped(valkey: Redis) -> None:
    await append_lines(valkey, "rep-1", ["one", "two"])
    lines, position = await read_lines(valkey, "rep-1")
    assert lines == ["one", "two"]
    await append_lines(valkey, "rep-1", ["three"])
    assert (await read_lines(valkey, "rep-1", position))[0] == ["three"]
