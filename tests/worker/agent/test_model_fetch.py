"""A replica whose model must be fetched first, in this process."""

from __future__ import annotations

import asyncio
import threading

from redis.asyncio import Redis

from infra.settings import Standby
from infra.states import ReplicaState
from infra.storage.base import Moved, NotStored
from infra.wire import ReplicaSpec
from tests.fixtures.waiting import wait_until
from worker.agent.held_model import HeldModel
from worker.agent.replica import Replica, Surroundings
from worker.agent.standby import Standbys

LIMIT_S = 20.0


def _surroundings(redis: Redis, open_model: object) -> Surroundings:
    slots = asyncio.Semaphore(1)
    standbys = Standbys(Standby.OFF, 1, lambda: False, lambda: None)
    return Surroundings(redis, redis, 5.0, 1, slots, lambda: None, open_model, standbys)  # type: ignore[arg-type]


SPEC = ReplicaSpec("replica", "revision", "s3://bucket/models/abc", "paced", {})


async def test_a_replica_tells_how_much_it_has_fetched_and_a_drain_ends_that(
    valkey: Redis,
) -> None:
    wanted = threading.Event()

    def slow(spec: ReplicaSpec, moved: Moved) -> HeldModel:
        assert spec is SPEC
        for _ in range(100):
            moved(1 << 20)
            wanted.set()
            assert not ending.wait(0.1) or moved(0)
        raise AssertionError("nobody stopped the fetch")

    ending = threading.Event()
    replica = Replica(SPEC, _surroundings(valkey, slow))
    living = asyncio.create_task(replica.run())
    assert await asyncio.to_thread(wanted.wait, LIMIT_S)
    await wait_until(lambda: "fetching the model" in replica.report().reason, "it tells")
    assert replica.report().state is ReplicaState.BOOTING
    replica.drain(0.0)
    ending.set()
    await asyncio.wait_for(living, LIMIT_S)
    assert replica.report().state is ReplicaState.TERMINATED


async def test_a_model_that_is_not_there_fails_the_replica_with_the_reason(valkey: Redis) -> None:
    def missing(spec: ReplicaSpec, moved: Moved) -> HeldModel:
        raise NotStored(f"nothing lies at {spec.model_uri}")

    replica = Replica(SPEC, _surroundings(valkey, missing))
    await replica.run()
    assert replica.report().state is ReplicaState.FAILED
    assert "nothing lies at s3://bucket" in replica.report().reason
