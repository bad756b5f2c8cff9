"""What a deployment's owner allows the autoscaler to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class KeepWarm(StrEnum):
    """What stays while a deployment is at zero."""

    NONE = "none"
    MACHINE = "machine"
    """One instance."""
    STANDBY = "standby"
    """One instance, with a process that has its imports done."""
    SLEEP = "sleep"
    """One replica, with its weights in host memory."""


class Mode(StrEnum):
    ACT = "act"
    ADVISE = "advise"
    """Decisions are made and stored, and the number of replicas stays as it is."""


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """Raises ValueError where the limits contradict each other."""

    min_replicas: int
    max_replicas: int
    idle_s: float
    """Time without a pending job after which a deployment goes down to its minimum."""
    jobs_per_replica: int
    """Jobs that one replica runs at once."""
    signals_limit_s: float = 10.0
    """Older signals decide nothing."""
    keep_warm: KeepWarm = KeepWarm.NONE
    mode: Mode = Mode.ACT
    scheduled: int = 0
    """Replicas that the schedule asks for now, or by the time that they would be ready."""
    drain_s: float = 30.0
    """In which what waits is worked off beside what arrives, where replicas start as fast."""

    calm_s: float = 300.0
    """What was needed this long ago is not given up yet."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas:
            raise ValueError(
                f"scaling: min_replicas ({self.min_replicas}) must lie between 0 and "
                f"max_replicas ({self.max_replicas})"
            )
        if self.jobs_per_replica < 1:
            raise ValueError(f"jobs_per_replica must be at least 1, not {self.jobs_per_replica}")

    @property
    def floor(self) -> int:
        """Never past the maximum, whatever the schedule says."""
        return min(max(self.min_replicas, self.scheduled), self.max_replicas)

    def within(self, replicas: int) -> int:
        return min(max(replicas, self.floor), self.max_replicas)
