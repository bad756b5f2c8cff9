"""One line of the cold-start ledger, from rows and from what the agent measured (pure).

Times of rows are the database's, durations of the agent its own: no clocks are compared. What lies
between, the agent hearing its assignment and the controller hearing of it, is `join`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.store.tables import Instance, Replica, Start
from infra.starts import BY_AGENT, Phase, Tier
from infra.states import ReplicaState, is_final
from infra.wire import ReplicaReport, StartReport

READY = "ready"
FAILED = "failed"
_UNPAID = (Phase.DECIDE, Phase.LAUNCH)
_TIERS = frozenset(each.value for each in Tier)
_LONGEST_S = 1e7


@dataclass(frozen=True, slots=True)
class Line:
    """What the row should say."""

    values: Mapping[str, Any]
    """By column."""
    close: bool

    def changes(self, start: Start) -> bool:
        return self.close or any(getattr(start, name) != to for name, to in self.values.items())


def line(
    start: Start, replica: Replica, instance: Instance | None, report: ReplicaReport | None
) -> Line:
    """The line of a start that is not closed yet.

    Args:
        report: of the replica, in the newest heartbeat of its instance.
    """
    state = ReplicaState(replica.state)
    told = _told(start, report)
    ready_at = start.ready_at or _ready_at(start, replica, state)
    phases = _phases(start, instance, told, ready_at)
    closed = Phase.FIRST_TOKEN.value in phases and ready_at is not None
    over = is_final(state) or state is ReplicaState.SLEEPING or replica.wakes != start.wakes
    failed = over and ready_at is None
    values: dict[str, Any] = {
        "phases_s": phases,
        "ready_at": ready_at,
        "outcome": READY if ready_at is not None else FAILED if failed else "",
        "reason": replica.reason if failed else "",
        "usd": _usd(phases, instance),
    }
    if instance is not None:
        values |= {
            "instance_id": instance.id,
            "instance_type": instance.instance_type,
            "zone": instance.zone,
        }
    if told is not None:
        values |= {
            "tier": told.tier if told.tier in _TIERS else "",
            "bytes_by_tier": {
                name: count for name, count in told.bytes_by_tier.items() if name in _TIERS
            },
            "standby": told.standby,
        }
    return Line(values, close=closed or over)


def _told(start: Start, report: ReplicaReport | None) -> StartReport | None:
    told = report.start if report is not None else None
    return told if told is not None and told.wakes == start.wakes else None


def _ready_at(start: Start, replica: Replica, state: ReplicaState) -> float | None:
    if start.wakes == 0:
        return replica.ready_at
    # A row keeps only when it was first ready; what it is now, it has been since its last step.
    woken = state is ReplicaState.READY and replica.wakes == start.wakes
    return replica.updated_at if woken else None


def _phases(
    start: Start, instance: Instance | None, told: StartReport | None, ready_at: float | None
) -> dict[str, float]:
    known = {Phase(name): seconds for name, seconds in start.phases_s.items() if name in _NAMES}
    if start.launched_at is not None:
        known[Phase.LAUNCH] = start.launched_at - start.created_at
        joined_at = instance.joined_at if instance is not None else None
        if joined_at is not None:
            known[Phase.BOOT] = joined_at - start.launched_at
    if told is not None:
        known |= {Phase(name): took for name, took in told.phases_s.items() if name in _NAMES}
    if ready_at is not None:
        before = (Phase.LAUNCH, Phase.BOOT, *BY_AGENT)
        elapsed_s = ready_at - start.created_at
        known[Phase.JOIN] = elapsed_s - sum(max(0.0, known.get(each, 0.0)) for each in before)
    return {each.value: _sane(known[each]) for each in Phase if each in known}


_NAMES = frozenset(each.value for each in Phase)


def _sane(seconds: float) -> float:
    """An instance that was there before has no boot, and an agent may say anything."""
    if not math.isfinite(seconds):
        return 0.0
    return round(min(max(0.0, seconds), _LONGEST_S), 6)


def _usd(phases: Mapping[str, float], instance: Instance | None) -> float:
    """From its launch on an instance costs its price, whether it serves or starts."""
    if instance is None:
        return 0.0
    paid_s = sum(seconds for name, seconds in phases.items() if name not in _UNPAID)
    return round(instance.usd_per_hour * paid_s / 3600.0, 9)
