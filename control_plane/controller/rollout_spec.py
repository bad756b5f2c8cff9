"""Reads the rollout part of a stored spec."""

from __future__ import annotations

from typing import Any

from control_plane.rollout.stage import Stage
from control_plane.rollout.strategy import ALL, Kind, RollbackOn, Strategy
from control_plane.store.tables import Rollout
from infra.states import RolloutState

_STEPS = (5, 25, ALL)
_STEP_S = 300.0
_HOLD_S = 300.0
_READY_LIMIT_S = 3600.0
_ATTAINMENT = 0.99


def strategy(spec: dict[str, Any]) -> Strategy:
    """Raises ValueError: the stored spec names no strategy that there is."""
    said = {name: value for name, value in spec.get("rollout", {}).items() if value is not None}
    kind = Kind(said.get("strategy", Kind.REPLACE))
    hold_s = 0.0 if kind is Kind.REPLACE else _HOLD_S
    step_s = said.get("step_s", _STEP_S) if kind is Kind.CANARY else said.get("hold_s", hold_s)
    steps = tuple(said.get("steps") or _STEPS) if kind is Kind.CANARY else (ALL,)
    return Strategy(
        kind=kind,
        steps=steps if steps[-1] == ALL else (*steps, ALL),
        step_s=float(step_s),
        step_requests=said.get("step_requests"),
        max_surge=int(said.get("max_surge", 1)),
        max_unavailable=int(said.get("max_unavailable", 0)),
        ready_limit_s=float(said.get("ready_limit_s", _READY_LIMIT_S)),
        rollback_on=RollbackOn(said.get("rollback_on", RollbackOn.NONE)),
        attainment=float((spec.get("slo") or {}).get("attainment") or _ATTAINMENT),
    )


def replaces(spec: dict[str, Any]) -> bool:
    """Whether traffic goes where replicas are ready. Never raises: gateways are told of all
    deployments at once, and one that nobody can read must not silence the others."""
    return (spec.get("rollout", {}).get("strategy") or Kind.REPLACE) == Kind.REPLACE


def leaves_all(spec: dict[str, Any], target: int, ready: int) -> bool:
    """Whether all traffic leaves the old revision before the new one has all its replicas, so that
    the last old one, which goes when nothing waits for it, makes room where there is no other.

    Args:
        ready: replicas of the new revision.
    """
    said = spec.get("rollout", {})
    missing = target - (said.get("max_unavailable") or 0) - ready
    return missing <= 0 and (ready > 0 or said.get("max_surge") == 0)


def stage(row: Rollout) -> Stage:
    return Stage(
        state=RolloutState(row.state),
        step=row.step,
        percent=row.percent,
        looks=row.looks,
        promoted=row.promoted,
        watched_s=row.watched_s,
    )
