"""Frames survive any cut of the byte stream; broken ones are refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from infra.wire import JobSpec, Malformed, Sampling
from worker.engine.base import EngineSpec
from worker.engine.channel import AgentChannel, Channel, ChannelClosed, pack
from worker.engine.messages import Cancel, Shutdown, Submit, ToEngine


def test_messages_arrive_whole_however_the_bytes_are_cut() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    sent = [Submit(JobSpec("a", "r", [1, 2, 3], Sampling(4)), 1), Cancel("a"), Shutdown()]
    received = []
    for byte in b"".join(pack(message) for message in sent):
        ours.send(bytes([byte]))
        message = channel.poll(ToEngine)
        received += [] if message is None else [message]
    assert received == sent
    ours.close()
    channel.close()


def test_a_poll_of_a_quiet_channel_returns_at_once() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    assert channel.poll(ToEngine) is None
    ours.close()
    with pytest.raises(ChannelClosed):
        channel.poll(ToEngine)
    channel.close()


def test_a_frame_longer_than_any_message_is_refused() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    ours.send(b"\xff\xff\xff\xff")
    with pytest.raises(Malformed, match="at most"):
        channel.receive(ToEngine)
    ours.close()
    channel.close()


def test_a_frame_that_is_no_message_is_refused() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    ours.send(b"\x01\x00\x00\x00\xc0")
    with pytest.raises(Malformed):
        channel.receive(ToEngine)
    ours.close()
    channel.close()


async def test_the_two_ends_understand_each_other(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    engine, agent = Channel(theirs), await AgentChannel.open(ours)
    spec = EngineSpec("r1", tmp_path, {"exact": True})
    await agent.send(spec)
    assert engine.receive(EngineSpec) == spec
    engine.send(Cancel("a"))
    assert await agent.receive(ToEngine) == Cancel("a")
    engine.close()
    with pytest.raises(ChannelClosed):
        await agent.receive(ToEngine)
    await agent.close()
