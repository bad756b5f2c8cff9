"""Redis goes away and comes back; the gateway's process is stopped, or killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from tokenizers import Tokenizer

from infra.connection import connect
from infra.embedded import EmbeddedValkey
from infra.queue.queue import JobQueue
from infra.settings import Settings
from infra.wire import FinishReason, TextAssets
from tests.control_plane.gateway.conftest import KEY, MODEL, REVISION, Gateway, Replica
from tests.fixtures.waiting import eventually


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "own.sock", tmp_path / "data", tmp_path / "own.log")
    server.start()
    yield server
    server.stop()


async def test_requests_outlive_a_short_absence_of_redis(
    own_valkey: EmbeddedValkey, settings: Settings, tokenizer: Tokenizer, assets: TextAssets
) -> None:
    redis = connect(own_valkey.url)
    settings = settings.model_copy(update={"jobs_url": own_valkey.url})
    gateway, replica = Gateway(settings, redis, assets), Replica(redis, tokenizer)
    await gateway.start()
    await gateway.publish()
    async with gateway.http() as client:
        body = {"model": MODEL, "prompt": "x"}
        running = asyncio.create_task(client.post("/v1/completions", json=body))
        lease, _ = await replica.take()
        await replica.say(lease, 0, replica.ids("abc"))
        own_valkey.stop()
        arriving = asyncio.create_task(client.post("/v1/completions", json=body))

        async def unready() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await eventually(unready)
        own_valkey.start()
        await replica.say(lease, 3, replica.ids("def"), FinishReason.STOP)
        await replica.answer("late")
        assert (await running).json()["choices"][0]["text"] == "abcdef"
        assert (await arriving).json()["choices"][0]["text"] == "late"
    await gateway.settled(accepted=2, completed=2)
    await gateway.stop()
    await redis.aclose()


def start_gateway(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "control_plane.gateway"],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


async def test_a_gateway_that_is_stopped_answers_what_is_under_way(
    valkey_server: EmbeddedValkey,
    valkey: Redis,
    assets: TextAssets,
    tmp_path: Path,
    unused_port: int,
) -> None:
    settings = Settings(home=tmp_path, port=unused_port, jobs_url=valkey_server.url)
    await Gateway(settings, valkey, assets).announce()
    environment = {
        **os.environ,
        "TAMER_HOME": str(tmp_path),
        "TAMER_JOBS_URL": valkey_server.url,
        "TAMER_PORT": str(unused_port),
        "TAMER_DRAIN_LIMIT_S": "4",
    }
    process = start_gateway(environment)
    body = {"model": MODEL, "prompt": "x"}
    headers = {"authorization": f"Bearer {KEY}"}
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{unused_port}", headers=headers, timeout=30
        ) as client:

            async def ready() -> bool:
                try:
                    return (await client.get("/v1/models")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(ready, deadline_s=20)
            whole = asyncio.create_task(client.post("/v1/completions", json=body))
            streamed = asyncio.create_task(
                client.post("/v1/completions", json={**body, "stream": True})
            )

            async def both_wait() -> bool:
                return (await JobQueue(valkey, REVISION).signals()).queued == 2

            await eventually(both_wait)
            process.send_signal(signal.SIGTERM)
            assert (await whole).status_code == 503
            assert "being stopped" in (await whole).json()["error"]["message"]
            assert "being stopped" in (await streamed).text
        process.wait(10)
        assert (await JobQueue(valkey, REVISION).balance()).pending == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_gateway_process_leaves_nothing_behind(
    valkey_server: EmbeddedValkey, tmp_path: Path, signal_number: int, unused_port: int
) -> None:
    environment = {
        **os.environ,
        "TAMER_HOME": str(tmp_path),
        "TAMER_JOBS_URL": valkey_server.url,
        "TAMER_PORT": str(unused_port),
    }
    process = start_gateway(environment)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_port}") as client:

            async def alive() -> bool:
                try:
                    return (await client.get("/livez")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(alive, deadline_s=20)
        children = children_of(process.pid)
        assert children, "the tokenizer process"
        process.send_signal(signal_number)
        process.wait(10)

        async def gone() -> bool:
            return not any(map(exists, children))

        await eventually(gone)
    finally:
        process.kill()
        process.wait()
