"""How long a pass takes, and a launch from its decision on, while agents beat and traffic moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from sqlalchemy import func, select

from control_plane.store.repositories.operations import OperationKind
from control_plane.store.session import Database
from control_plane.store.tables import Decision, Operation, Replica
from loadtests.benchmarks.control_plane.cell import Cell, quiet
from loadtests.benchmarks.control_plane.told import Pass

_SETTLED_PASSES = 3
_SETTLE_LIMIT_S = 120.0
_IN_FLIGHT = 8
"""Deployments that need one replica more, at any time."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One round."""

    passes: Sequence[Pass]
    for_s: float
    rises: int
    launches_s: Sequence[float]
    """From a decision's row to the message that launches."""
    heartbeats_per_s: float
    latest_s: float
    """How late the latest heartbeat was."""

    @property
    def p99_s(self) -> float:
        return percentile([each.pass_s for each in self.passes], 99)

    @property
    def p50_s(self) -> float:
        return percentile([each.pass_s for each in self.passes], 50)

    @property
    def cpu_share(self) -> float:
        """Of one core, that the controller used."""
        return sum(each.cpu_s for each in self.passes) / self.for_s


async def watch(cell: Cell, heartbeats_per_s: float, rises_per_s: float, for_s: float) -> Watched:
    """One controller, from its start; what it does before it is quiet is not counted."""
    beats, controller = cell.beats(heartbeats_per_s), cell.controller()
    try:
        async with cell.at_work(controller):
            await quiet(controller, _SETTLED_PASSES, _SETTLE_LIMIT_S)
            stop, before = asyncio.Event(), len(controller.passes)
            began_s = time.monotonic()
            rising = asyncio.create_task(cell.demand.waves(rises_per_s, _IN_FLIGHT, stop))
            await asyncio.sleep(for_s)
            passes, watched_s = controller.passes[before:], time.monotonic() - began_s
            stop.set()
            rises = await rising
            await cell.demand.fall_all()
            beaten = beats.stop()
            launches_s = await _launches_s(cell.database, controller.sent)
    finally:
        controller.stop()
        beats.stop()
    return Watched(passes, watched_s, rises, launches_s, beaten.per_s, beaten.latest_s)


async def _launches_s(database: Database, sent: Mapping[str, float]) -> list[float]:
    decided_at = (
        select(func.max(Decision.created_at))
        .where(
            Decision.deployment_id == Replica.deployment_id,
            Decision.kind == "scale",
            Decision.created_at <= Replica.created_at,
        )
        .correlate(Replica)
        .scalar_subquery()
    )
    async with database.snapshot() as session:
        found = await session.execute(
            select(Operation.id, decided_at)
            .join(Replica, Replica.instance_id == Operation.subject_id)
            .where(
                Operation.kind == OperationKind.LAUNCH_INSTANCE.value, Operation.id.in_(list(sent))
            )
        )
        return [sent[operation_id] - at for operation_id, at in found]


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least one value; the greatest where there are too few to tell."""
    if len(values) < 2:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
