"""Agents as real processes, with all around them that they need."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from infra.connection import RedisClient
from infra.log_stream import read_lines
from infra.registry import Registry
from infra.states import ReplicaState
from infra.storage.directory import uri_of
from infra.wire import Assignment, Heartbeat, ReplicaReport, ReplicaSpec
from tests.fixtures.waiting import wait_until
from tests.worker.agent.join_server import JoinServer

ROOT = Path(__file__).parents[3]
LIMIT_S = 20.0


def entry_points_folder(folder: Path) -> Path:
    """A folder that, on the path, brings the engines of this tree, installed or not."""
    info = folder / "site" / "tamer_engines_under_test-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tamer-engines-under-test\n")
    (info / "entry_points.txt").write_text(
        "[tamer.engines]\npaced = loadtests.paced.engine:build\n"
    )
    return info.parent


class Agent:
    """One agent process and what is heard of it."""

    def __init__(
        self, instance_id: str, process: asyncio.subprocess.Process, redis: RedisClient, log: Path
    ) -> None:
        self.instance_id = instance_id
        self.process = process
        self.log = log
        self._redis = redis
        self._registry = Registry(redis)
        self._version = 0

    async def assign(self, *replicas: ReplicaSpec, leave: bool = False, standby: str = "") -> None:
        self._version += 1
        await self._registry.assign(
            Assignment(self.instance_id, self._version, list(replicas), leave, standby=standby)
        )

    async def heartbeat(self) -> Heartbeat | None:
        return (await self._registry.heartbeats([self.instance_id])).get(self.instance_id)

    async def report_where(
        self, replica_id: str, holds: Callable[[ReplicaReport], bool], what: str
    ) -> ReplicaReport:
        """Wait for a heartbeat with such a report of the replica."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LIMIT_S
        heartbeat: Heartbeat | None = None
        while loop.time() < deadline:
            heartbeat = await self.heartbeat()
            for report in heartbeat.replicas if heartbeat else []:
                if report.replica_id == replica_id and holds(report):
                    return report
            await asyncio.sleep(0.02)
        raise AssertionError(
            f"{replica_id} is not {what}: {heartbeat}\n{self.log.read_text()[-3000:]}"
        )

    async def until(self, replica_id: str, state: ReplicaState) -> ReplicaReport:
        return await self.report_where(replica_id, lambda each: each.state is state, state.value)

    async def engine_pid(self, replica_id: str) -> int:
        """The engine process of a replica; a child of the agent."""
        await wait_until(lambda: self.children(), "the agent has an engine")
        (pid,) = self.children()
        return pid

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in path.read_text().split()]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, limit_s: float = LIMIT_S) -> int:
        return await asyncio.wait_for(self.process.wait(), limit_s)

    async def log_lines(self, subject_id: str) -> list[str]:
        return (await read_lines(self._redis, subject_id))[0]


class Stage:
    def __init__(self, folder: Path, redis: RedisClient, server: JoinServer) -> None:
        self._folder = folder
        self._redis = redis
        self._server = server
        self._site = entry_points_folder(folder)
        self._agents: list[Agent] = []
        self._model = folder / "model"
        self._model.mkdir()

    def replica(self, replica_id: str, draining: bool = False, **options: Any) -> ReplicaSpec:
        options = {"tokens_per_s": 100.0, **options}
        return ReplicaSpec(
            replica_id, "revision", uri_of(self._model), "paced", options, draining=draining
        )

    async def agent(self, instance_id: str, **environment: str) -> Agent:
        token = f"token-of-{instance_id}"
        self._server.instances[token] = instance_id
        log = self._folder / f"{instance_id}.log"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("TAMER_")
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "worker.agent",
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **inherited,
                    "PYTHONPATH": os.pathsep.join([str(self._site), str(ROOT)]),
                    "TAMER_HOME": str(self._folder),
                    "TAMER_JOIN_URL": self._server.url,
                    "TAMER_JOIN_TOKEN": token,
                    **environment,
                },
            )
        agent = Agent(instance_id, process, self._redis, log)
        self._agents.append(agent)
        return agent

    async def clear(self) -> None:
        for agent in self._agents:
            if agent.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    agent.signal(signal.SIGCONT)
                    agent.process.kill()
                await agent.process.wait()


@contextlib.asynccontextmanager
async def staged(
    folder: Path, redis: RedisClient, redis_url: str, lease_s: float = 1.0
) -> AsyncIterator[Stage]:
    async with JoinServer(redis_url, lease_s).running() as server:
        stage = Stage(folder, redis, server)
        try:
            yield stage
        finally:
            await stage.clear()
