"""The engine process keeps its side of the conversation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.wire import FinishReason, JobSpec, Sampling, TokenEvent
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.base import EngineSpec
from worker.engine.channel import Channel, ChannelClosed
from worker.engine.messages import (
    Asleep,
    Cancel,
    Failed,
    FromEngine,
    Loading,
    LongStep,
    Ready,
    Shutdown,
    Sleep,
    StandingBy,
    StepDone,
    Submit,
    Wake,
)

ROOT = Path(__file__).parents[3]
LIMIT_S = 60.0

Start = Callable[..., tuple[subprocess.Popen[bytes], Channel]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an engine process; `counting` is installed as a distribution of its own."""
    dist_info = tmp_path / "counting_engine-1.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: counting-engine\nVersion: 1\n"
    )
    (dist_info / "entry_points.txt").write_text(
        "[tamer.engines]\ncounting = counting_engine:build\n"
        "real = worker.engine.torch_engine:build\n"
    )
    path = os.pathsep.join([str(ROOT), str(tmp_path), str(Path(__file__).parent)])
    started: list[tuple[subprocess.Popen[bytes], Channel]] = []

    def begin(
        engine: str = "counting", model: Path = tmp_path, standby: bool = False, **options: object
    ) -> tuple[subprocess.Popen[bytes], Channel]:
        ours, theirs = socket.socketpair()
        fd = theirs.fileno()
        command = [sys.executable, "-m", "worker.engine.process", "--engine", engine]
        with theirs:
            process = subprocess.Popen(
                [*command, "--fd", str(fd), *(["--standby"] if standby else [])],
                pass_fds=[fd],
                env={**os.environ, "PYTHONPATH": path},
                cwd=tmp_path,
            )
        channel = Channel(ours)
        channel.send(EngineSpec("r1", model, dict(options)))
        started.append((process, channel))
        return process, channel

    yield begin
    for process, channel in started:
        channel.close()
        process.wait(LIMIT_S)


def receive_until(channel: Channel, kind: type) -> list[FromEngine]:
    received = [channel.receive(FromEngine)]
    while not isinstance(received[-1], kind):
        received.append(channel.receive(FromEngine))
    return received


def submit(job_id: str, max_tokens: int, prompt: list[int] | None = None) -> Submit:
    return Submit(JobSpec(job_id, "q", prompt or [1], Sampling(max_tokens)), 3)


def test_loading_is_reported_before_ready(start: Start) -> None:
    _, channel = start()
    *loading, ready = receive_until(channel, Ready)
    assert isinstance(ready, Ready)
    assert Loading("weights", 100, 100) in loading


def test_a_standby_says_so_and_then_is_what_it_is_told(start: Start) -> None:
    _, channel = start(standby=True)
    first, *_, ready = receive_until(channel, Ready)
    assert (type(first), type(ready)) == (StandingBy, Ready)


def test_an_engine_that_can_free_nothing_answers_all_the_same(start: Start) -> None:
    _, channel = start()
    receive_until(channel, Ready)
    channel.send(Sleep())
    assert receive_until(channel, Asleep) == [Asleep()]
    channel.send(Wake())
    receive_until(channel, Ready)


def test_a_job_runs_to_its_end_with_every_index_once(start: Start) -> None:
    _, channel = start()
    receive_until(channel, Ready)
    channel.send(submit("a", 5))
    events: list[TokenEvent] = []
    while not events or events[-1].finish is None:
        events += channel.receive(StepDone).events
    assert [(event.index, event.tokens) for event in events] == [(i, [i]) for i in range(5)]
    assert {event.attempt for event in events} == {3}


def test_a_refused_job_is_answered_and_the_engine_goes_on(start: Start) -> None:
    _, channel = start()
    receive_until(channel, Ready)
    channel.send(Submit(JobSpec("bad", "q", [], Sampling(1)), 1))
    channel.send(submit("good", 1))
    events = {}
    while len(events) < 2:
        events |= {event.job_id: event for event in channel.receive(StepDone).events}
    assert events["bad"].finish is FinishReason.ERROR
    assert events["good"].finish is FinishReason.LENGTH


def test_a_cancelled_job_stops_while_the_engine_is_at_work(start: Start) -> None:
    _, channel = start(step_s=0.01)
    receive_until(channel, Ready)
    channel.send(submit("a", 1_000_000))
    channel.receive(StepDone)
    channel.send(Cancel("a"))
    while channel.receive(StepDone).stats.running:
        pass


def test_a_long_step_is_announced_with_its_bound(start: Start) -> None:
    _, channel = start(step_s=0.2)
    receive_until(channel, Ready)
    channel.send(submit("a", 1))
    assert channel.receive(FromEngine) == LongStep(2.0)


def test_the_process_ends_when_the_agent_is_gone_in_mid_work(start: Start) -> None:
    process, channel = start(step_s=0.01)
    receive_until(channel, Ready)
    channel.send(submit("a", 1_000_000))
    channel.receive(StepDone)
    channel.close()
    assert process.wait(LIMIT_S) == 0


def test_shutdown_ends_the_process_at_once(start: Start) -> None:
    process, channel = start(step_s=0.01)
    receive_until(channel, Ready)
    channel.send(submit("a", 1_000_000))
    channel.send(Shutdown())
    assert process.wait(LIMIT_S) == 0


def test_an_engine_that_cannot_be_built_says_why(start: Start) -> None:
    process, channel = start(refuse=True)
    assert receive_until(channel, Failed)[-1] == Failed("unknown option 'refuse'")
    assert process.wait(LIMIT_S) == 1


def test_an_unknown_engine_is_named(start: Start) -> None:
    process, channel = start(engine="nonesuch")
    failed = receive_until(channel, Failed)[-1]
    assert isinstance(failed, Failed)
    assert "no engine named 'nonesuch'" in failed.reason
    assert "counting" in failed.reason
    assert process.wait(LIMIT_S) == 1


def test_a_fatal_error_at_work_is_said_before_the_end(start: Start) -> None:
    process, channel = start()
    receive_until(channel, Ready)
    channel.send(submit("a", 5, prompt=[666]))
    assert receive_until(channel, Failed)[-1] == Failed("MemoryError: no room for the beast")
    assert process.wait(LIMIT_S) != 0
    with pytest.raises(ChannelClosed):
        channel.receive(FromEngine)


def test_the_torch_engine_serves_from_its_own_process(start: Start, tiny_llama: TinyLlama) -> None:
    _, channel = start("real", tiny_llama(), kv_cache_tokens=512, exact=True)
    ready = receive_until(channel, Ready)[-1]
    assert isinstance(ready, Ready)
    assert ready.stats.kv_tokens_total == 512
    for number in range(3):
        sampling = Sampling(6, temperature=0.0, ignore_eos=True)
        channel.send(Submit(JobSpec(f"job-{number}", "q", [3, 4, 5], sampling), 1))
    outputs: dict[str, list[int]] = {}
    finished = 0
    while finished < 3:
        message = channel.receive(FromEngine)
        for event in message.events if isinstance(message, StepDone) else ():
            outputs.setdefault(event.job_id, []).extend(event.tokens)
            finished += event.finish is FinishReason.LENGTH
    assert len(outputs["job-0"]) == 6
    assert outputs["job-0"] == outputs["job-1"] == outputs["job-2"]


def test_a_model_that_cannot_be_loaded_says_why(start: Start) -> None:
    process, channel = start("real")
    failed = receive_until(channel, Failed)[-1]
    assert isinstance(failed, Failed)
    assert "config.json is missing" in failed.reason
    assert process.wait(LIMIT_S) == 1
