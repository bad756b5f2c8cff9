"""What agents and controllers tell each other: heartbeats one way, assignments the other.

A heartbeat is a key that Redis itself lets expire, so no clocks are compared; an assignment is the
absolute desired state, so hearing it twice or missing one is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from infra.connection import LONGEST_WAIT_S, REDIS_AWAY, RedisClient, get_many
from infra.latest import Latest
from infra.telemetry import logger
from infra.wire import Assignment, Heartbeat, Malformed, decode, encode

log = logger(__name__)

_BELL = "tamer:controller:bell"


def _heartbeat_key(instance_id: str) -> str:
    return f"tamer:instance:{instance_id}:heartbeat"


def _assignment_key(instance_id: str) -> str:
    return f"tamer:instance:{instance_id}:assignment"


class Registry:
    """The controller's side."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs

    async def heartbeats(self, instance_ids: Iterable[str]) -> dict[str, Heartbeat]:
        """The live heartbeat of each instance; one that is silent, or that cannot be understood, is
        missing."""
        ids = list(instance_ids)
        if not ids:
            return {}
        bodies = await get_many(self._jobs, [_heartbeat_key(each) for each in ids])
        found = {
            each: _understood(each, body)
            for each, body in zip(ids, bodies, strict=True)
            if body is not None
        }
        return {each: heartbeat for each, heartbeat in found.items() if heartbeat is not None}

    async def assign(self, assignment: Assignment) -> None:
        await Latest(self._jobs, _assignment_key(assignment.instance_id)).publish(
            encode(assignment)
        )

    async def forget(self, instance_id: str) -> None:
        await self._jobs.delete(_heartbeat_key(instance_id), _assignment_key(instance_id))

    async def wait_for_bell(self, timeout_s: float) -> bool:
        """Sleep until somebody has news for the controller, or the time runs out."""
        clock = asyncio.get_running_loop().time
        end_s = clock() + timeout_s
        while (left_s := end_s - clock()) > 0:
            if await self._jobs.blpop([_BELL], timeout=min(left_s, LONGEST_WAIT_S)) is not None:
                return True
        return False


def _understood(instance_id: str, body: bytes) -> Heartbeat | None:
    """One agent that speaks nonsense must not make the controller deaf to the others."""
    try:
        return decode(body, Heartbeat)
    except Malformed as error:
        log.error("heartbeat cannot be read", instance_id=instance_id, error=str(error))
        return None


class AgentRegistry:
    """One agent's side."""

    def __init__(self, jobs: RedisClient, instance_id: str) -> None:
        self._jobs = jobs
        self._key = _heartbeat_key(instance_id)
        self._assignments = Latest(jobs, _assignment_key(instance_id))

    async def beat(self, heartbeat: Heartbeat, ttl_s: float) -> None:
        await self._jobs.set(self._key, encode(heartbeat), px=int(ttl_s * 1000))

    async def next_assignment(self, timeout_s: float) -> Assignment | None:
        body = await self._assignments.next(timeout_s)
        return None if body is None else decode(body, Assignment)


async def ring_controller(jobs: RedisClient) -> None:
    """Ask the controller to look now and not at its next pass. A hint: losing it costs a pass, so
    where Redis is away that is logged and nothing is raised."""
    try:
        async with jobs.pipeline(transaction=True) as pipe:
            pipe.lpush(_BELL, b"1")
            pipe.ltrim(_BELL, 0, 0)
            await pipe.execute()
    except REDIS_AWAY as error:
        log.warning("controller cannot be rung", error=str(error))
