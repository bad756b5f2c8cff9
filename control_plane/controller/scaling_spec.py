"""Reads the scaling part of a stored spec."""

from __future__ import annotations

from typing import Any

from control_plane.autoscaler.policy import KeepWarm, ScalingPolicy

_JOBS_PER_REPLICA = 32
"""Where the engine's options do not say how many jobs run at once."""


def scaling_policy(spec: dict[str, Any], options: dict[str, Any]) -> ScalingPolicy:
    """The policy of a deployment whose revision has these engine options.

    Raises:
        ValueError: the stored limits contradict each other.
    """
    scaling = spec.get("scaling", {})
    jobs = options.get("max_running", _JOBS_PER_REPLICA)
    return ScalingPolicy(
        min_replicas=int(scaling.get("min_replicas", 0)),
        max_replicas=int(scaling.get("max_replicas", 1)),
        idle_s=float(scaling.get("idle_s", 300.0)),
        keep_warm=KeepWarm(scaling.get("keep_warm", KeepWarm.NONE)),
        # Whatever else a user wrote there, the engine refuses with its own words.
        jobs_per_replica=jobs if isinstance(jobs, int) and jobs > 0 else _JOBS_PER_REPLICA,
    )
