"""Reads the scaling part of a stored spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.autoscaler.boot_time import PRIOR
from control_plane.autoscaler.policy import KeepWarm, Mode, ScalingPolicy
from infra.performance.serving import jobs_per_replica
from infra.schedule import Floor, scheduled_replicas

_CALM_S = 300.0
_SHORTER = 2.0
NOTHING = ScalingPolicy(min_replicas=0, max_replicas=0, idle_s=0.0, jobs_per_replica=1)
"""Of a deployment that ends."""


def scaling_policy(
    spec: Mapping[str, Any],
    options: Mapping[str, Any],
    now: float,
    ahead_s: float,
    target: int,
) -> ScalingPolicy:
    """The policy of a deployment whose revision has these engine options.

    Args:
        now: database time.
        ahead_s: how long a replica takes to be there, for the schedule.
        target: replicas that are wanted now.

    Raises:
        ValueError: the stored limits contradict each other, or its schedule cannot be read.
    """
    scaling = spec.get("scaling", {})
    idle_s = float(scaling.get("idle_s", 300.0))
    schedule = [Floor(**each) for each in scaling.get("schedule", ())]
    # What was asked for ahead stays, though starts turn out to be shorter than was believed.
    begun_s = max(_SHORTER * ahead_s, PRIOR.p90_s)
    kept = min(target, scheduled_replicas(schedule, now, begun_s))
    return ScalingPolicy(
        min_replicas=int(scaling.get("min_replicas", 0)),
        max_replicas=int(scaling.get("max_replicas", 1)),
        idle_s=idle_s,
        keep_warm=KeepWarm(scaling.get("keep_warm", KeepWarm.NONE)),
        jobs_per_replica=jobs_per_replica(options),
        mode=Mode(scaling.get("mode", Mode.ACT)),
        scheduled=max(kept, scheduled_replicas(schedule, now, ahead_s)),
        calm_s=min(idle_s, _CALM_S),
    )
