"""Makes what runs on this instance what its assignment says: the highest version wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from infra.backoff import Backoff
from infra.connection import REDIS_AWAY
from infra.registry import AgentRegistry
from infra.states import ReplicaState, is_final
from infra.telemetry import logger
from infra.wire import Assignment, Malformed, ReplicaReport, ReplicaSpec
from worker.agent.replica import Replica, Surroundings
from worker.agent.standby import Standbys

_WAIT_S = 5.0
_STARTING = (ReplicaState.REQUESTED, ReplicaState.BOOTING, ReplicaState.LOADING)
_log = logger(__name__)


class Supervisor:
    """An ended replica is reported until the assignment no longer names it, and never restarted:
    a new one comes under a new id."""

    def __init__(
        self, surroundings: Surroundings, drain_limit_s: float, on_leave: Callable[[], None]
    ) -> None:
        self.version = 0
        self._around = surroundings
        self._drain_limit_s = drain_limit_s
        self._on_leave = on_leave
        self._replicas: dict[str, Replica] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}

    @property
    def standbys(self) -> Standbys:
        return self._around.standbys

    async def follow(self, registry: AgentRegistry) -> None:
        """Apply each assignment as it comes."""
        backoff = Backoff(first_s=0.1, limit_s=5.0)
        while True:
            try:
                assignment = await registry.next_assignment(_WAIT_S)
            except REDIS_AWAY:
                await backoff.pause()
                continue
            except Malformed as error:
                _log.error("assignment cannot be read", error=str(error))
                await backoff.pause()
                continue
            backoff.reset()
            if assignment is not None:
                self.apply(assignment)

    def apply(self, assignment: Assignment) -> None:
        if assignment.version <= self.version:
            return
        self.version = assignment.version
        wanted = {spec.replica_id: spec for spec in assignment.replicas}
        for replica_id in [each for each in self._replicas if each not in wanted]:
            self._remove(replica_id)
        for spec in wanted.values():
            self._want(spec)
        self._around.standbys.ask(assignment.standby)
        if assignment.leave:
            self._on_leave()
        self._around.news()

    async def leave(self) -> None:
        """Drain everything, and return when nothing runs."""
        for replica in self._replicas.values():
            replica.drain(self._drain_limit_s)
        if self._lives:
            await asyncio.wait(self._lives.values())

    async def abandon(self) -> None:
        """End everything at once, and return when nothing runs: this instance was given up."""
        for replica in self._replicas.values():
            replica.drain(0.0)
        if self._lives:
            await asyncio.wait(self._lives.values())

    def is_starting(self) -> bool:
        """Whether a replica needs the cores to start."""
        return any(replica.state in _STARTING for replica in self._replicas.values())

    def reports(self) -> list[ReplicaReport]:
        return [replica.report() for replica in self._replicas.values()]

    def revisions(self) -> dict[str, str]:
        """What each reported replica serves."""
        return {each: replica.spec.revision_id for each, replica in self._replicas.items()}

    def _want(self, spec: ReplicaSpec) -> None:
        replica = self._replicas.get(spec.replica_id)
        if replica is None:
            replica = Replica(spec, self._around)
            self._replicas[spec.replica_id] = replica
            self._lives[spec.replica_id] = asyncio.create_task(replica.run())
        if spec.draining:
            replica.drain(self._drain_limit_s)
        else:
            replica.want_asleep(spec.asleep, spec.wakes)

    def _remove(self, replica_id: str) -> None:
        """No longer named: what still runs ends at once, and is forgotten when it has."""
        replica = self._replicas[replica_id]
        if is_final(replica.state):
            del self._replicas[replica_id], self._lives[replica_id]
            return
        replica.drain(0.0)
        self._lives[replica_id].add_done_callback(lambda _: self._forget(replica_id))

    def _forget(self, replica_id: str) -> None:
        self._replicas.pop(replica_id, None)
        self._lives.pop(replica_id, None)
        self._around.news()
