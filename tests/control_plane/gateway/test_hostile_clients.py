"""Clients that leave at every stage, or never read: nothing of them stays behind."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from redis.asyncio import Redis

from control_plane.http.connection import SLOW_CLIENT
from infra.queue.queue import base_key
from infra.settings import Settings
from infra.wire import TextAssets
from loadtests.chaos.hostile_client import HostileClient, Stage
from tests.control_plane.gateway.conftest import CONTEXT_TOKENS, KEY, MODEL, REVISION, Gateway
from tests.fixtures.engine_replica import EngineReplica, engine_replica
from tests.fixtures.waiting import wait_until
from worker.scheduling.scheduler import Limits

CLIENTS_PER_STAGE = 12
LONG_TOKENS = 2000
"""Eight of these are more than the kernel and we keep for a client that does not read."""
LIMITS = Limits(max_running=8, step_tokens=256, blocks=64, block_tokens=16)


async def _attack(gateway: Gateway, random: Random) -> Counter[Stage]:
    """All stages at once; how many clients got as far as they wanted."""
    client = HostileClient("127.0.0.1", gateway.port, KEY, MODEL, max_tokens=12)
    stages = list(Stage) * CLIENTS_PER_STAGE
    random.shuffle(stages)
    reached = await asyncio.gather(
        *(client.leave_at(stage, abruptly=random.random() < 0.5) for stage in stages)
    )
    return Counter(stage for stage, there in zip(stages, reached, strict=True) if there)


async def _nothing_is_left(gateway: Gateway, replica: EngineReplica) -> tuple[int, int]:
    """Sockets and tasks, once everything else is gone."""
    await gateway.settled()
    await wait_until(lambda: gateway.services.consumer.open_jobs == 0, "every sequence is settled")
    await wait_until(lambda: replica.idle, "the worker holds no job and no KV block")
    await wait_until(lambda: gateway.connections == 0, "every connection is closed")
    for redis in (gateway.services.jobs, gateway.services.tokens, gateway.redis):
        await redis.connection_pool.disconnect(inuse_connections=False)  # as many as were needed
    return _open_files(), len(asyncio.all_tasks())


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_clients_that_leave_at_every_stage_leave_nothing_behind(
    gateway: Gateway, valkey: Redis
) -> None:
    random = Random("hostile")
    async with engine_replica(valkey, REVISION, LIMITS, 0.002, CONTEXT_TOKENS) as replica:
        reached = await _attack(gateway, random)
        assert all(reached[stage] for stage in Stage), reached
        assert reached[Stage.DONE] == CLIENTS_PER_STAGE, "who stays is served"
        files, tasks = await _nothing_is_left(gateway, replica)
        await _attack(gateway, random)
        files_then, tasks_then = await _nothing_is_left(gateway, replica)
        # One for each client of a stage would be a leak.
        assert files_then - files < CLIENTS_PER_STAGE
        assert tasks_then - tasks < CLIENTS_PER_STAGE
    balance = await gateway.queue.balance()
    assert balance.failed == balance.expired == 0
    assert balance.cancelled > 0


async def test_a_body_that_does_not_arrive_is_a_408_in_openais_shape(
    settings: Settings, valkey: Redis, assets: TextAssets
) -> None:
    gateway = Gateway(settings.model_copy(update={"receive_limit_s": 0.2}), valkey, assets)
    await gateway.start()
    await gateway.publish()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(_long_request()[:-10])
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    await gateway.stop()


async def test_a_client_that_never_reads_is_cut_off_and_its_jobs_say_why(
    settings: Settings, valkey: Redis, assets: TextAssets
) -> None:
    gateway = Gateway(settings.model_copy(update={"send_limit_s": 0.3}), valkey, assets)
    await gateway.start()
    await gateway.publish(max_context_tokens=LONG_TOKENS)
    limits = replace(LIMITS, blocks=8 * LONG_TOKENS // LIMITS.block_tokens)
    async with engine_replica(valkey, REVISION, limits, 0.001, LONG_TOKENS) as replica:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.connect(("127.0.0.1", gateway.port))
            client.sendall(_long_request())
            await wait_until(lambda: gateway.services.consumer.open_jobs, "its jobs run")
            await _nothing_is_left(gateway, replica)
    await gateway.stop()
    reasons = [await _reason(valkey, job) for job in await _jobs(valkey)]
    assert len(reasons) == 8
    assert set(reasons) == {SLOW_CLIENT}


async def _jobs(valkey: Redis) -> list[bytes]:
    return [key async for key in valkey.scan_iter(f"{base_key(REVISION)}:job:*")]


async def _reason(valkey: Redis, key: bytes) -> str:
    reason: Any = await valkey.hget(key, "reason")  # type: ignore[misc]
    return str(reason.decode())


def _long_request() -> bytes:
    asked = {"model": MODEL, "prompt": "x", "max_tokens": LONG_TOKENS - 1, "n": 8, "stream": True}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
