"""What a gateway process writes of a request: JSON lines that say whom they speak of."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from infra.settings import Settings
from infra.wire import FinishReason, TextAssets
from tests.control_plane.gateway.conftest import KEY, MODEL, REVISION, Gateway, Replica
from tests.fixtures.waiting import eventually

ROOT = Path(__file__).parents[3]


class GatewayProcess:
    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    async def ready(self) -> bool:
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.url}/readyz")).is_success
        except httpx.HTTPError:
            return False

    async def line(self, event: str) -> dict[str, Any]:
        """The first line of that event, waiting for it."""

        async def found() -> list[dict[str, Any]]:
            lines = [json.loads(each) for each in self._log.read_text().splitlines()]
            return [each for each in lines if each["event"] == event]

        return (await eventually(found))[0]


@pytest.fixture
async def process(
    settings: Settings, valkey: Redis, assets: TextAssets, unused_port: int, tmp_path: Path
) -> AsyncIterator[GatewayProcess]:
    log = tmp_path / "gateway.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAMER_")}
    environment = {
        **kept,
        "PYTHONPATH": str(ROOT),
        "TAMER_HOME": str(tmp_path),
        "TAMER_PORT": str(unused_port),
        "TAMER_JOBS_URL": settings.jobs_url,
    }
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "control_plane.gateway"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        await Gateway(settings, valkey, assets).announce()
        gateway = GatewayProcess(f"http://127.0.0.1:{unused_port}", log)
        await eventually(gateway.ready, 30.0)
        yield gateway
    finally:
        child.kill()
        await child.wait()


async def test_every_line_of_a_request_names_request_job_attempt_and_replica(
    process: GatewayProcess, replica: Replica
) -> None:
    async with httpx.AsyncClient(base_url=process.url, timeout=20) as client:
        asking = asyncio.create_task(
            client.post(
                "/v1/completions",
                json={"model": MODEL, "prompt": "x", "max_tokens": 2},
                headers={"x-request-id": "req-followed", "authorization": f"Bearer {KEY}"},
            )
        )
        lease, spec = await replica.take()
        await replica.say(lease, 0, replica.ids("a"))
        await replica.renew(lease, 1, ttl_s=0.05)
        await replica.say(lease, 1, [], FinishReason.RELEASED)
        other = Replica(replica.queue._redis, replica._tokenizer, "replica-2")
        again, _ = await other.take()
        await other.say(again, 1, replica.ids("b"), FinishReason.LENGTH)
        assert (await asking).json()["choices"][0]["text"] == "ab"
    whom = {
        "request_id": "req-followed",
        "job_id": spec.job_id,
        "revision_id": REVISION,
        "process": "gateway",
    }
    lost = await process.line("attempt lost")
    assert whom.items() <= lost.items()
    assert (lost["attempt"], lost["replica_id"], lost["delivered"]) == (1, "replica-1", 1)
    offered = await process.line("offered again")
    assert whom.items() <= offered.items()
    assert offered["attempt"] == 2
    ended = await process.line("job ended")
    assert whom.items() <= ended.items()
    assert (ended["attempt"], ended["replica_id"]) == (2, "replica-2")
    assert (ended["outcome"], ended["output_tokens"]) == ("completed", 2)


async def test_lines_below_the_request_carry_its_id_without_being_told(
    process: GatewayProcess, valkey: Redis, settings: Settings, assets: TextAssets
) -> None:
    gateway = Gateway(settings, valkey, assets)
    await gateway.announce(name="headless", text_digest="0" * 64)

    async def missed() -> bool:
        async with httpx.AsyncClient(base_url=process.url, timeout=20) as client:
            reply = await client.post(
                "/v1/completions",
                json={"model": "headless", "prompt": "x"},
                headers={"x-request-id": "req-mine", "authorization": f"Bearer {KEY}"},
            )
        return reply.status_code == 503

    await eventually(missed)
    line = await process.line("text side of a model is missing")
    assert line["request_id"] == "req-mine"
