"""What the autoscaler is told: measurements, never wishes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from control_plane.autoscaler.boot_time import PRIOR, BootTime


class Halt(StrEnum):
    """Why a deployment must have no replicas, whatever its demand."""

    DELETING = "deleting"
    CRASH_LOOP = "crash_loop"
    BUDGET = "budget"
    """Its budget, and the grace beyond it, is spent."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What waits and runs in the deployment's job queues."""

    pending_jobs: int
    peak_pending_jobs: int
    """The greatest number within the last `idle_s` as far as it was watched (at least
    `pending_jobs`): what was needed a moment ago is not given up at the first lull."""
    idle_s: float
    """Time since a job was last offered or settled, by Redis's clock; infinite: never used."""
    age_s: float
    """Time since this was measured."""


@dataclass(frozen=True, slots=True)
class Observation:
    current_target: int
    """The last decision: an absolute number, which therefore counts replicas that still boot."""
    demand: Demand | None
    """None where the queue could not be asked."""
    halt: Halt | None = None
    boot: BootTime = PRIOR
    """What the next start will take."""
    budget: str = ""
    """Why there may be no more replicas than now: its budget is spent. Empty: there may."""
