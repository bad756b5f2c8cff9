"""How many replicas demand needs: counted in tokens where the capacity of one is known, else in
jobs (pure).

In tokens, a replica more or less is a matter of evidence. Arrivals are random, and n of them tell
their rate to about 1 / sqrt(n): a step up wants to be sure that it is needed, and a step down that
it is not. What both leave open (a rate that is a little more than replicas carry) shows as jobs
that wait, and what waits counts by itself. The panic window is Knative's (KPA: twice the present
capacity, in a tenth of the time).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from control_plane.autoscaler.observation import Load, Observation, ReplicaCapacity
from control_plane.autoscaler.policy import ScalingPolicy
from infra.performance.capacity import PROMISED_SHARE

_SURE = 2.0
"""Standard errors, for one more."""
_SURE_OF_BURST = 3.0
_SPARE = 0.1
"""A step down leaves at least this much room, so that it is not taken back at once."""
_PANIC = 2.0
"""Times the present target."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Need:
    replicas: int
    keeps: int
    """As many as it would not give up; at least `replicas`."""
    formula: str


def in_jobs(pending_jobs: int, policy: ScalingPolicy) -> Need:
    each = policy.jobs_per_replica
    needed = math.ceil(pending_jobs / each)
    return Need(needed, needed, f"ceil({pending_jobs} pending / {each} a replica) = {needed}")


def as_before(current: int) -> Need:
    """While nobody has watched what arrives: what waits alone may be a moment's work or an hour's,
    and a controller that starts in the middle of a burst must not double it."""
    return Need(current, current, f"{current} as before, until arrivals were watched")


def in_tokens(
    load: Load, capacity: ReplicaCapacity, observation: Observation, policy: ScalingPolicy
) -> Need:
    """What arrives, or is foreseen, over what one replica serves, and what drains the backlog.

    More replicas are there after the p90 of their starts. What those that serve have not worked off
    by then is to be drained in as long again, or in `drain_s` if that is longer. While replicas
    boot that cover what arrives, the backlog asks for no more: it has grown because they are not
    there yet, and would ask again until they are.
    """
    current = observation.current_target
    mean = capacity.replicas(load.arriving)
    arriving = mean * _certain(load.jobs, _SURE)
    parts = [f"{mean:.2f} arriving, {arriving:.2f} for sure"]
    if load.foreseen is not None:
        foreseen = capacity.replicas(load.foreseen)
        parts.append(f"{foreseen:.2f} foreseen ({load.forecaster})")
        arriving, mean = max(arriving, foreseen), max(mean, foreseen)
    burst = capacity.replicas(load.sudden) * _certain(load.sudden_jobs, _SURE_OF_BURST)
    if burst >= _PANIC * max(current, 1):
        parts.append(f"a burst of {burst:.2f}")
        arriving = max(arriving, burst)
    backlog = _backlog(capacity.replicas(load.waiting), mean, observation, policy)
    covered = arriving <= current and observation.ready < current
    if backlog and not covered:
        parts.append(f"{backlog:.2f} to drain what waits")
        arriving += backlog
    needed = _ceil(arriving)
    # What would be asked for again at a smaller target is not given up.
    likely = max(mean * (1 + _SPARE + _error(load.jobs)), burst) + backlog
    keeps = max(needed, _ceil(likely))
    unit = (
        f"in replicas of {capacity.prefill_tokens_per_s:.0f} prompt and "
        f"{capacity.decode_tokens_per_s:.0f} output tokens a second ({capacity.source})"
    )
    return Need(needed, keeps, f"ceil({', '.join(parts)}) = {needed}, {unit}")


def _backlog(
    work_s: float, arriving: float, observation: Observation, policy: ScalingPolicy
) -> float:
    """Replicas for what waits, which is so many seconds' work of one."""
    horizon_s = observation.boot.p90_s
    surplus = max(0.0, observation.ready / PROMISED_SHARE - arriving)
    return max(0.0, work_s - surplus * horizon_s) / max(policy.drain_s, horizon_s)


def _error(jobs: int) -> float:
    """Relative, of a rate that so many arrivals tell (Poisson)."""
    return 1 / math.sqrt(jobs) if jobs else 0.0


def _certain(jobs: int, errors: float) -> float:
    """The share of a rate that is sure."""
    return max(0.0, 1 - errors * _error(jobs))


def _ceil(replicas: float) -> int:
    return math.ceil(replicas - _ROUNDING)
