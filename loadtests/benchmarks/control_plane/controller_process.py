"""`python -m` this: the controller as it is, with the settings of its environment, in front of a
cloud that is a set in Redis. Says each pass and each message to Celery in a line of JSON."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from typing import Any

from control_plane.controller.garbage import collect_less_often
from control_plane.controller.loop import Controller
from control_plane.store.session import Database
from control_plane.tasks.messages import Messages
from infra.cloud.base import CloudError, CloudInstance, CloudInstanceState, LaunchRequest
from infra.connection import RedisClient, connect
from infra.process_settings import process_settings
from infra.settings import Settings
from infra.telemetry import configure_logging

MACHINES = "benchmark:machines"
"""Ids of the instances that run."""


class FleetCloud:
    """Describes what runs; launching and ending it is done elsewhere, as Celery does."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs
        self._known: dict[str, CloudInstance] = {}

    async def describe(self) -> Sequence[CloudInstance]:
        found: Any = await self._jobs.smembers(MACHINES)
        return [self._machine(each.decode()) for each in found]

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        raise CloudError(f"{request.instance_id}: not launched here", retryable=False)

    async def terminate(self, instance_id: str) -> None:
        raise CloudError(f"{instance_id}: not ended here", retryable=False)

    async def close(self) -> None:
        return None

    def _machine(self, instance_id: str) -> CloudInstance:
        if instance_id not in self._known:
            self._known[instance_id] = CloudInstance(
                instance_id, f"i-{instance_id}", CloudInstanceState.RUNNING
            )
        return self._known[instance_id]


class ToldMessages(Messages):
    async def send(self, operation_id: str) -> None:
        await super().send(operation_id)
        _say(sent=operation_id, at=time.time())


class ToldController(Controller):
    async def reconcile(self) -> int:
        began_s, used_s = time.monotonic(), time.process_time()
        changed = await super().reconcile()
        _say(
            at=time.time(),
            pass_s=time.monotonic() - began_s,
            cpu_s=time.process_time() - used_s,
            changed=changed,
        )
        return changed


def _say(**what: float | str) -> None:
    print(json.dumps(what), flush=True)


async def main(settings: Settings) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database, jobs, messages = Database(settings), connect(settings.jobs), ToldMessages(settings)
    try:
        controller = ToldController(settings, database, jobs, FleetCloud(jobs), messages)
        await controller.run(stop)
    finally:
        messages.close()
        await jobs.aclose()
        await database.close()


if __name__ == "__main__":
    settings = process_settings()
    configure_logging("controller", settings.log_level)
    collect_less_often()
    asyncio.run(main(settings))
