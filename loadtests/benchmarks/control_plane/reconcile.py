"""How long a pass takes, and a launch from its decision on, while agents beat and traffic moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from loadtests.benchmarks.control_plane.cell import Cell, quiet
from loadtests.benchmarks.control_plane.told import Pass

_SETTLED_PASSES = 3
_SETTLE_LIMIT_S = 120.0
_IN_FLIGHT = 8
"""Deployments that need one replica more, at any time."""


_LAUNCHES = """
    SELECT operations.id, (
        SELECT max(decisions.created_at) FROM decisions
        WHERE decisions.deployment_id = replicas.deployment_id AND decisions.kind = 'scale'
          AND decisions.created_at <= replicas.created_at
    ) AS decided_at
    FROM operations JOIN replicas ON replicas.instance_id = operations.subject_id
    WHERE operations.kind = 'launch_instance' AND operations.id = ANY($1)
"""
"""The decision that asked for the replica for which an instance was launched."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One round."""

    passes: Sequence[Pass]
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
    def cpu_s(self) -> float:
        return percentile([each.cpu_s for each in self.passes], 50)


async def watch(cell: Cell, heartbeats_per_s: float, rises_per_s: float, for_s: float) -> Watched:
    """One controller, from its start; what it does before it is quiet is not counted."""
    beats, controller = cell.beats(heartbeats_per_s), cell.controller()
    try:
        async with cell.at_work(controller):
            await quiet(controller, _SETTLED_PASSES, _SETTLE_LIMIT_S)
            stop, before, began = asyncio.Event(), len(controller.passes), time.time()
            rising = asyncio.create_task(cell.demand.waves(rises_per_s, _IN_FLIGHT, stop))
            await asyncio.sleep(for_s)
            passes = controller.passes[before:]
            stop.set()
            rises = await rising
            await cell.demand.fall_all()
            beaten = beats.stop()
            launches_s = _launches_s(cell, controller.sent, began)
    finally:
        controller.stop()
        beats.stop()
    return Watched(passes, rises, launches_s, beaten.per_s, beaten.latest_s)


def _launches_s(cell: Cell, sent: Mapping[str, float], since: float) -> list[float]:
    """Without those that the controller of the round before decided on and left to this one."""
    return [
        sent[each["id"]] - each["decided_at"]
        for each in cell.ask(_LAUNCHES, list(sent))
        if each["decided_at"] >= since
    ]


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least one value; the greatest where there are too few to tell."""
    if len(values) < 2:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
