"""Two controllers share the rows; one is killed in the middle of a step of traffic. How long until
the other has done all that was to be done?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from loadtests.benchmarks.control_plane.cell import Cell, quiet, wait_for
from loadtests.benchmarks.control_plane.told import ControllerProcess

_SETTLED_PASSES = 3
_SETTLE_LIMIT_S = 120.0
_LIMIT_S = 60.0
_LOOK_S = 0.02


_LAUNCHES = """
    SELECT operations.id, replicas.deployment_id
    FROM operations JOIN replicas ON replicas.instance_id = operations.subject_id
    WHERE operations.kind = 'launch_instance'
      AND operations.id = ANY($1) AND replicas.deployment_id = ANY($2)
"""


class DoneTwice(RuntimeError):
    """Both controllers did the same."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    elapsed_s: float
    by_killed: int
    """Launches that the killed one had sent."""
    by_other: int


async def take_over(cell: Cell, heartbeats_per_s: float, step: int) -> TakenOver:
    """`step` deployments need one replica more at once.

    Raises:
        TooSlow: a controller does not get there.
        TimeoutError: it was not all done within a minute.
        DoneTwice: a deployment got more than it needed.
    """
    beats = cell.beats(heartbeats_per_s)
    victim, other = cell.controller(), cell.controller()
    try:
        async with cell.at_work(victim, other):
            for each in (victim, other):
                await quiet(each, _SETTLED_PASSES, _SETTLE_LIMIT_S)
            victim.sent.clear()
            other.sent.clear()
            risen = {(await cell.demand.rise()).deployment_id for _ in range(step)}
            await wait_for(lambda: bool(victim.sent), _LIMIT_S, "launch by the one to be killed")
            killed_at = victim.kill()
            done_at = await _all_sent(cell, risen, victim, other)
            await cell.demand.fall_all()
            await quiet(other, _SETTLED_PASSES, _SETTLE_LIMIT_S)
    finally:
        victim.kill()
        other.stop()
        beats.stop()
    return TakenOver(max(0.0, done_at - killed_at), len(victim.sent), len(other.sent))


async def _all_sent(
    cell: Cell, risen: set[str], victim: ControllerProcess, other: ControllerProcess
) -> float:
    """When the last of the launches that these deployments need was sent, epoch seconds.

    Raises:
        TimeoutError, DoneTwice: as `take_over`.
    """
    async with asyncio.timeout(_LIMIT_S):
        while True:
            sent = {**other.sent, **victim.sent}
            found = await asyncio.to_thread(_launches, cell, risen, list(sent))
            if len(found) > len(risen):
                raise DoneTwice(f"{len(risen)} deployments, {len(found)} launches")
            if set(found.values()) == risen:
                return max(sent[operation_id] for operation_id in found)
            await asyncio.sleep(_LOOK_S)


def _launches(cell: Cell, risen: set[str], sent: list[str]) -> dict[str, str]:
    """Of those that were sent, by operation, the deployment that it is for."""
    rows = cell.ask(_LAUNCHES, sent, list(risen))
    return {each["id"]: each["deployment_id"] for each in rows}
