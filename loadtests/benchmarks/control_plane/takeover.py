"""Two controllers share the rows; one is killed in the middle of a step of traffic. How long until
the other has done all that was to be done?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
    """Messages that the killed one had sent."""
    by_other: int


async def take_over(cell: Cell, heartbeats_per_s: float, step: int) -> TakenOver:
    """`step` deployments need one replica more at once.

    Raises:
        TooSlow: a controller does not get there.
        TimeoutError: it was not all done within a minute.
        DoneTwice: a deployment got more than it needed.
    """
    beats = cell.beats(heartbeats_per_s)
    both = cell.controller(), cell.controller()
    try:
        async with cell.at_work(*both):
            for each in both:
                await quiet(each, _SETTLED_PASSES, _SETTLE_LIMIT_S)
            before = [len(each.sent) for each in both]
            risen = {(await cell.demand.rise()).deployment_id for _ in range(step)}
            await wait_for(
                lambda: any(_more(both, before)), _LIMIT_S, "message by either controller"
            )
            # A bell wakes one of them, and that one is at work.
            victim, other = both if _more(both, before)[0] else both[::-1]
            killed_at = victim.kill()
            done_at = await _all_sent(cell, risen, victim, other)
            await cell.demand.fall_all()
            await quiet(other, _SETTLED_PASSES, _SETTLE_LIMIT_S)
    finally:
        for each in both:
            each.stop()
        beats.stop()
    by_killed, by_other = _more((victim, other), before if victim is both[0] else before[::-1])
    return TakenOver(max(0.0, done_at - killed_at), by_killed, by_other)


def _more(controllers: Sequence[ControllerProcess], before: Sequence[int]) -> list[int]:
    """Messages of each since then."""
    return [len(each.sent) - sent for each, sent in zip(controllers, before, strict=True)]


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
