"""What a decision was made of, as JSON: the observation and the policy (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from control_plane.autoscaler.observation import Observation
from control_plane.autoscaler.policy import Mode, ScalingPolicy


def inputs_of(observation: Observation, policy: ScalingPolicy) -> dict[str, Any]:
    """Strict JSON: what is not finite is null."""
    demand, capacity = observation.demand, observation.capacity
    inputs: dict[str, Any] = {
        "current_target": observation.current_target,
        "ready": observation.ready,
        "kept": observation.kept,
        "pending_jobs": None if demand is None else demand.pending_jobs,
        "idle_s": None if demand is None else _finite(demand.idle_s),
        "signals_age_s": None if demand is None else _finite(demand.age_s),
        "min_replicas": policy.min_replicas,
        "max_replicas": policy.max_replicas,
        "idle_limit_s": policy.idle_s,
        "jobs_per_replica": policy.jobs_per_replica,
        "keep_warm": policy.keep_warm.value,
        "boot_p50_s": observation.boot.p50_s,
        "boot_p90_s": observation.boot.p90_s,
        "boot_starts": observation.boot.starts,
    }
    if policy.mode is Mode.ADVISE:
        inputs["mode"] = policy.mode.value
    if policy.scheduled:
        inputs["scheduled"] = policy.scheduled
    if observation.ordered is not None:
        inputs["ordered"] = observation.ordered
    if observation.budget:
        inputs["budget"] = observation.budget
    if demand is not None and demand.load is not None:
        inputs["load"] = _jsonable(asdict(demand.load))
    if capacity is not None:
        inputs["capacity"] = _jsonable(asdict(capacity))
    if observation.uncounted:
        inputs["uncounted"] = observation.uncounted
    return inputs


def _jsonable(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _jsonable(value)
        if isinstance(value, dict)
        else _finite(value)
        if isinstance(value, float)
        else value
        for name, value in told.items()
    }


def _finite(number: float) -> float | None:
    """JSON has no infinity: a queue that was never used has no idle time."""
    return round(number, 3) if math.isfinite(number) else None
