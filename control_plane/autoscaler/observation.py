"""What the autoscaler is told: measurements, never wishes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from control_plane.autoscaler.boot_time import PRIOR, BootTime


class Halt(StrEnum):
    """Why a deployment must have no replicas, whatever its demand."""

    DELETING = "deleting"
    CRASH_LOOP = "crash_loop"
    BUDGET = "budget"
    """Its budget, and the grace beyond it, is spent."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """An amount of work, or a rate of it by the second."""

    prefill: float
    """Of prompts, that no prefix cache holds."""
    decode: float

    @property
    def known(self) -> bool:
        return all(math.isfinite(each) and each >= 0 for each in (self.prefill, self.decode))


@dataclass(frozen=True, slots=True)
class Load:
    """Demand in tokens: what arrives by the second, and what waits."""

    arriving: Tokens
    """A second, mean of the last minute or so."""
    jobs: int
    """That it is the mean of: how far it is to be trusted."""
    sudden: Tokens
    """A second, in the last few seconds."""
    sudden_jobs: int
    waiting: Tokens
    """Of jobs that no replica has taken."""
    foreseen: Tokens | None = None
    """A second: the most that is expected until what is asked for now is there. None: nobody
    foresees better than that it stays as it is."""
    forecaster: str = "last_value"


@dataclass(frozen=True, slots=True)
class ReplicaCapacity:
    """What one replica serves within the deployment's SLO."""

    sequences: int
    """Running at once."""
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    source: Literal["model", "measured"]
    """model: a roofline of its accelerator; measured: that, corrected by steps that replicas of
    this revision took."""

    def replicas(self, rate: Tokens) -> float:
        """That serve so much a second; not rounded."""
        prefill = rate.prefill / self.prefill_tokens_per_s
        return max(prefill, rate.decode / self.decode_tokens_per_s)


@dataclass(frozen=True, slots=True)
class Demand:
    """What waits and runs in the deployment's job queues."""

    pending_jobs: int
    idle_s: float
    """Time since a job was last offered or settled, by Redis's clock; infinite: never used."""
    age_s: float
    """Time since this was measured."""
    load: Load | None = None
    """None until it was watched for a moment."""
    heard: bool = True
    """Whether it was told now; else it is what was told last."""

    @property
    def known(self) -> bool:
        """Whether every number is one: what cannot be is no signal."""
        load = self.load
        rates = [] if load is None else [load.arriving, load.sudden, load.waiting]
        rates += [load.foreseen] if load is not None and load.foreseen is not None else []
        sane = self.pending_jobs >= 0 and not math.isnan(self.idle_s) and not math.isnan(self.age_s)
        return sane and all(each.known for each in rates)


@dataclass(frozen=True, slots=True)
class Observation:
    current_target: int
    """The last decision: an absolute number, which therefore counts replicas that still boot."""
    demand: Demand | None
    """None where the queue has told nothing yet."""
    halt: Halt | None = None
    boot: BootTime = PRIOR
    """What the next start will take."""
    budget: str = ""
    """Why there may be no more replicas than now: its budget is spent. Empty: there may."""
    ready: int = 0
    """Replicas that serve and speak: one that has stopped reporting is no capacity."""
    capacity: ReplicaCapacity | None = None
    """None where nobody knows (no SLO, nothing measured): then replicas are counted in jobs."""
    uncounted: str = ""
    """Why that is, where there is an SLO."""
    kept: int = 0
    """The most replicas that any decision of the last while would have kept: what was needed a
    moment ago is not given up at the first lull."""
    ordered: int | None = None
    """What the owner has ordered instead, for a while."""
    before: int | None = None
    """Where decisions are advice, and an order or a halt is over: what was wanted before."""
