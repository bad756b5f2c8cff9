"""The parts of the benchmark against real ones: an engine, a stream, a queue, processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from loadtests.benchmarks import job_queue
from loadtests.benchmarks.engine_arm import EngineArmFailed, drive
from loadtests.benchmarks.processes import Cores, TooFewCores, below, cpu_s, pin, role_of
from loadtests.benchmarks.stream_client import StreamClient, StreamFailed
from loadtests.paced.engine import PacedEngine
from loadtests.paced.options import PacedOptions
from tests.fixtures.openai_stream import FIRST_TOKEN_S, KEY, MODEL, NEXT_TOKEN_S, OpenAiStream
from tests.fixtures.waiting import eventually

PROMPTS = [[300, 301], [302]]


def test_a_bare_loop_counts_every_token_of_an_engine() -> None:
    engine = PacedEngine(PacedOptions(tokens_per_s=400.0))
    assert drive(engine, PROMPTS, max_tokens=20) == pytest.approx(2 * 400, rel=0.3)


def test_an_engine_that_refuses_a_job_has_no_rate() -> None:
    engine = PacedEngine(PacedOptions(max_context_tokens=2))
    with pytest.raises(EngineArmFailed, match="the context holds 2"):
        drive(engine, PROMPTS, max_tokens=20)


async def test_a_wave_counts_tokens_and_events(openai_stream: OpenAiStream) -> None:
    wave = await StreamClient(openai_stream.url, KEY, MODEL).wave(PROMPTS, max_tokens=12)
    assert (wave.tokens, wave.events, wave.requests) == (24, 24, 2)
    assert wave.elapsed_s >= FIRST_TOKEN_S + 11 * NEXT_TOKEN_S
    [first, _] = openai_stream.bodies
    assert first["temperature"] == 0
    assert first["ignore_eos"] is True


async def test_a_loop_asks_again_until_its_time_is_over(openai_stream: OpenAiStream) -> None:
    wave = await StreamClient(openai_stream.url, KEY, MODEL).loop(PROMPTS, 2, duration_s=0.3)
    assert wave.requests == len(openai_stream.bodies) > 4
    assert wave.tokens == 2 * wave.requests


@pytest.mark.parametrize(
    ("key", "model", "said"), [("no", MODEL, "no such key"), (KEY, "broken", "gone")]
)
async def test_an_answer_that_is_no_whole_stream_fails_the_benchmark(
    openai_stream: OpenAiStream, key: str, model: str, said: str
) -> None:
    with pytest.raises(StreamFailed, match=said):
        await StreamClient(openai_stream.url, key, model).stream([1], max_tokens=5)


def test_jobs_go_through_a_real_queue() -> None:
    rates = job_queue.jobs_per_s(jobs=64, rounds=2)
    assert len(rates) == 2
    assert min(rates) > 0


def test_processes_below_ours_are_found_pinned_and_timed() -> None:
    core = min(os.sched_getaffinity(0))
    busy = "import sys; sys.stdout.write('x'); sys.stdout.flush()\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.read(1)
            [found] = [each for each in below(os.getpid()) if each.pid == child.pid]
            pin(found.pid, core)
            assert os.sched_getaffinity(child.pid) == {core}
            assert found.role == "other"
            before = cpu_s([found])["other"]

            async def worked() -> bool:
                return cpu_s([found])["other"] > before

            asyncio.run(eventually(worked))
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python -m worker.engine.process --engine torch --fd 9", "engine"),
        ("python -m control_plane.serve", "gateway"),
        ("python -m control_plane.gateway.tokenizer_process", "tokenizer"),
        ("/x/valkey-server unixsocket:/y", "valkey"),
        ("sleep 1", "other"),
    ],
)
def test_a_process_is_known_by_its_command(command: str, role: str) -> None:
    assert role_of(command) == role


def test_one_core_is_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})
    with pytest.raises(TooFewCores, match="two cores"):
        Cores.of_this_machine()
