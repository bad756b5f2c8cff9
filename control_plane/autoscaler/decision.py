"""The decision: an absolute number of replicas, with its reason, formula and inputs.

An absolute target that counts what is still booting cannot cascade: deciding again before the
replicas are there gives the same number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.autoscaler.observation import Demand, Halt, Observation
from control_plane.autoscaler.policy import ScalingPolicy


class Reason(StrEnum):
    DEMAND = "demand"
    """Pending jobs need this many."""
    FROM_ZERO = "from_zero"
    """Something waits and nothing runs."""
    AT_MAX = "at_max"
    """Pending jobs need more than the owner allows."""
    AT_MIN = "at_min"
    """The owner wants at least this many."""
    LULL = "lull"
    """Fewer would do now, but more were needed a moment ago."""
    IDLE = "idle"
    """No job for `idle_s`."""
    SIGNALS_MISSING = "signals_missing"
    """The queue could not be asked: the last target holds."""
    SIGNALS_STALE = "signals_stale"
    """What the queue said is too old: the last target holds."""
    CRASH_LOOP = "crash_loop"
    """Replicas fail before they are ready: nothing runs until the deployment is changed."""
    BUDGET = "budget"
    """The budget is spent: no more replicas than now, or, past its grace, none."""
    DELETING = "deleting"


_ENOUGH = frozenset({Reason.DEMAND, Reason.FROM_ZERO, Reason.LULL, Reason.AT_MIN, Reason.IDLE})
"""The target serves what there is to serve."""
_REPEAT_S = 10.0


@dataclass(frozen=True, slots=True)
class Decision:
    target: int
    reason: Reason
    formula: str
    inputs: dict[str, Any]
    """JSON: the observation and the policy."""


def decide(observation: Observation, policy: ScalingPolicy) -> Decision:
    """The number of replicas that `observation` asks for under `policy`.

    Never above `max_replicas`; never below `min_replicas` unless the deployment is halted or its
    budget holds it;
    never falls when demand rises.
    """
    target, reason, formula = _target(observation, policy)
    current = min(observation.current_target, policy.max_replicas)
    if observation.budget and observation.halt is None and target > current:
        formula = f"{formula}; held at {current}: {observation.budget}"
        target, reason = current, Reason.BUDGET
    return Decision(target, reason, formula, _inputs(observation, policy))


def is_news(decision: Decision, last_target: int, last_reason: str, last_age_s: float) -> bool:
    """Whether the decision says anything that the last stored one does not.

    The same number for another reason decides nothing as long as it is enough. Demand that moves
    around the owner's limit does so many times a second: once in a while explains that.
    """
    if decision.target != last_target:
        return True
    if decision.reason == last_reason or {decision.reason, last_reason} <= _ENOUGH:
        return False
    wavers = {decision.reason, last_reason} <= _ENOUGH | {Reason.AT_MAX, Reason.BUDGET}
    return not wavers or last_age_s > _REPEAT_S


def _target(observation: Observation, policy: ScalingPolicy) -> tuple[int, Reason, str]:
    demand, held = observation.demand, policy.within(observation.current_target)
    if observation.halt is Halt.DELETING:
        return 0, Reason.DELETING, "0: the deployment is being deleted"
    if observation.halt is Halt.CRASH_LOOP:
        return 0, Reason.CRASH_LOOP, "0: replicas fail before they are ready"
    if observation.halt is Halt.BUDGET:
        return 0, Reason.BUDGET, f"0: {observation.budget}"
    if demand is None:
        return held, Reason.SIGNALS_MISSING, f"hold {held}: the queue could not be asked"
    if demand.age_s > policy.signals_limit_s:
        formula = f"hold {held}: signals are {demand.age_s:.0f} s old"
        return held, Reason.SIGNALS_STALE, f"{formula}, limit {policy.signals_limit_s:.0f} s"
    if demand.pending_jobs == 0 and demand.idle_s >= policy.idle_s:
        formula = f"min = {policy.min_replicas}: no job for {policy.idle_s:.0f} s"
        reason = Reason.AT_MIN if policy.min_replicas else Reason.IDLE
        return policy.min_replicas, reason, formula
    return _by_demand(demand, observation.current_target, policy)


def _by_demand(demand: Demand, current: int, policy: ScalingPolicy) -> tuple[int, Reason, str]:
    each = policy.jobs_per_replica
    needed = math.ceil(demand.pending_jobs / each)
    # One stays until idle_s has passed: an idle moment between two requests is no idleness.
    recent = max(1, math.ceil(demand.peak_pending_jobs / each))
    wanted = max(needed, min(current, recent))
    target = policy.within(wanted)
    formula = (
        f"max(ceil({demand.pending_jobs} pending / {each} a replica) = {needed}, "
        f"min({current} now, ceil({demand.peak_pending_jobs} peak / {each}) = {recent})) = "
        f"{wanted}, within {policy.min_replicas}..{policy.max_replicas}"
    )
    if wanted > target:
        reason = Reason.AT_MAX
    elif wanted < target:
        reason = Reason.AT_MIN
    elif wanted > needed:
        reason = Reason.LULL
    elif current == 0 and needed > 0:
        reason = Reason.FROM_ZERO
    else:
        reason = Reason.DEMAND
    return target, reason, formula


def _inputs(observation: Observation, policy: ScalingPolicy) -> dict[str, Any]:
    demand = observation.demand
    inputs = {
        "current_target": observation.current_target,
        "pending_jobs": None if demand is None else demand.pending_jobs,
        "peak_pending_jobs": None if demand is None else demand.peak_pending_jobs,
        "idle_s": _finite(demand.idle_s) if demand is not None else None,
        "signals_age_s": None if demand is None else round(demand.age_s, 3),
        "min_replicas": policy.min_replicas,
        "max_replicas": policy.max_replicas,
        "idle_limit_s": policy.idle_s,
        "jobs_per_replica": policy.jobs_per_replica,
        "keep_warm": policy.keep_warm.value,
        "boot_p50_s": observation.boot.p50_s,
        "boot_p90_s": observation.boot.p90_s,
        "boot_starts": observation.boot.starts,
    }
    return inputs | ({"budget": observation.budget} if observation.budget else {})


def _finite(seconds: float) -> float | None:
    """JSON has no infinity: a queue that was never used has no idle time."""
    return round(seconds, 3) if math.isfinite(seconds) else None
