"""The decision: an absolute number of replicas, with its reason, formula and inputs.

An absolute target that counts what is still booting cannot cascade: deciding again before the
replicas are there gives the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.autoscaler.inputs import inputs_of
from control_plane.autoscaler.need import Need, as_before, in_jobs, in_tokens
from control_plane.autoscaler.observation import Demand, Halt, Observation
from control_plane.autoscaler.policy import Mode, ScalingPolicy


class Reason(StrEnum):
    DEMAND = "demand"
    """Pending jobs, or arriving tokens, need this many."""
    FROM_ZERO = "from_zero"
    """Something waits and nothing runs."""
    AT_MAX = "at_max"
    """Demand needs more than the owner allows."""
    AT_MIN = "at_min"
    """The owner wants at least this many."""
    SCHEDULED = "scheduled"
    """The owner wants at least this many at this time."""
    LULL = "lull"
    """Fewer would do now, but more were needed a moment ago."""
    IDLE = "idle"
    """No job for `idle_s`."""
    ORDERED = "ordered"
    """The owner has ordered this many, for a while."""
    ADVICE = "advice"
    """Another number would be right; the owner wants to hear it, not to have it."""
    SIGNALS_MISSING = "signals_missing"
    """The queue has told nothing yet, or what cannot be: the last target holds."""
    SIGNALS_STALE = "signals_stale"
    """The queue does not answer, or what it told is too old: the last target holds."""
    CRASH_LOOP = "crash_loop"
    """Replicas fail before they are ready: nothing runs until the deployment is changed."""
    BUDGET = "budget"
    """The budget is spent: no more replicas than now, or, past its grace, none."""
    DELETING = "deleting"


_ENOUGH = frozenset(
    {
        Reason.DEMAND,
        Reason.FROM_ZERO,
        Reason.LULL,
        Reason.AT_MIN,
        Reason.SCHEDULED,
        Reason.IDLE,
    }
)
"""The target serves what there is to serve."""
_REPEAT_S = 10.0
ADVISED = "advised"
"""Names it among the inputs."""


@dataclass(frozen=True, slots=True)
class Decision:
    target: int
    reason: Reason
    formula: str
    inputs: dict[str, Any]
    """JSON: the observation and the policy."""
    keeps: int = 0
    """As many as later decisions do not give up for a while (`Observation.kept`)."""

    def told(self) -> dict[str, Any]:
        """JSON."""
        return {
            "target_replicas": self.target,
            "reason": self.reason.value,
            "formula": self.formula,
            "inputs": self.inputs,
        }

    @property
    def advised(self) -> int | None:
        """What it would have been, where the owner only wants to hear it."""
        advised: int | None = self.inputs.get(ADVISED)
        return advised


@dataclass(frozen=True, slots=True)
class _Verdict:
    target: int
    reason: Reason
    formula: str
    keeps: int = 0
    advised: int | None = None


def decide(observation: Observation, policy: ScalingPolicy) -> Decision:
    """The number of replicas that `observation` asks for under `policy`.

    Never above `max_replicas`; never below `min_replicas` unless the deployment is halted, its
    owner has ordered fewer, or its budget holds it; never falls when demand rises.
    """
    found = _halted(observation)
    if found is None:
        found = _budgeted(_wanted(observation, policy), observation, policy)
    inputs = inputs_of(observation, policy)
    if found.advised is not None:
        inputs[ADVISED] = found.advised
    return Decision(found.target, found.reason, found.formula, inputs, found.keeps)


def is_news(
    decision: Decision,
    last_target: int,
    last_reason: str,
    last_age_s: float,
    last_advised: int | None = None,
) -> bool:
    """Whether the decision says anything that the last stored one does not.

    The same number for another reason decides nothing as long as it is enough. Demand that moves
    around the owner's limit does so many times a second: once in a while explains that, and other
    advice too.
    """
    if decision.target != last_target:
        return True
    if decision.advised is not None and decision.advised != last_advised:
        return last_advised is None or last_age_s > _REPEAT_S
    if decision.reason == last_reason or {decision.reason, last_reason} <= _ENOUGH:
        return False
    wavering = _ENOUGH | {Reason.AT_MAX, Reason.BUDGET, Reason.ADVICE}
    return not {decision.reason, last_reason} <= wavering or last_age_s > _REPEAT_S


def _halted(observation: Observation) -> _Verdict | None:
    match observation.halt:
        case Halt.DELETING:
            return _Verdict(0, Reason.DELETING, "0: the deployment is being deleted")
        case Halt.CRASH_LOOP:
            return _Verdict(0, Reason.CRASH_LOOP, "0: replicas fail before they are ready")
        case Halt.BUDGET:
            return _Verdict(0, Reason.BUDGET, f"0: {observation.budget}")
        case None:
            return None


def _wanted(observation: Observation, policy: ScalingPolicy) -> _Verdict:
    """The owner's order, or what demand says where the owner lets it."""
    if observation.ordered is not None:
        target = min(observation.ordered, policy.max_replicas)
        formula = f"{target}: ordered by its owner, for a while"
        return _Verdict(target, Reason.ORDERED, formula, target)
    found = _by_signals(observation, policy)
    # A schedule that raised it would never be followed by what lowers it again.
    before = observation.before
    current = observation.current_target if before is None else before
    held = min(max(current, policy.min_replicas), policy.max_replicas)
    if policy.mode is Mode.ADVISE and found.target != held:
        formula = f"hold {held} (mode: advise); {found.target} would be right: {found.formula}"
        return _Verdict(held, Reason.ADVICE, formula, found.keeps, found.target)
    return found


def _budgeted(found: _Verdict, observation: Observation, policy: ScalingPolicy) -> _Verdict:
    current = min(observation.current_target, policy.max_replicas)
    if not observation.budget or found.target <= current:
        return found
    formula = f"{found.formula}; held at {current}: {observation.budget}"
    return _Verdict(current, Reason.BUDGET, formula, found.keeps)


def _by_signals(observation: Observation, policy: ScalingPolicy) -> _Verdict:
    demand, held = observation.demand, policy.within(observation.current_target)
    if demand is None:
        return _held(held, Reason.SIGNALS_MISSING, "the queue has told nothing yet")
    if not demand.known:
        return _held(held, Reason.SIGNALS_MISSING, "a signal is no number")
    if not demand.heard:
        said = f"the queue does not answer; what it told is {demand.age_s:.0f} s old"
        return _held(held, Reason.SIGNALS_STALE, said)
    if demand.age_s > policy.signals_limit_s:
        limit_s = policy.signals_limit_s
        said = f"signals are {demand.age_s:.0f} s old, limit {limit_s:.0f} s"
        return _held(held, Reason.SIGNALS_STALE, said)
    if demand.pending_jobs == 0 and demand.idle_s >= policy.idle_s:
        formula = f"min = {policy.floor}: no job for {policy.idle_s:.0f} s"
        return _Verdict(policy.floor, _at_floor(policy) if policy.floor else Reason.IDLE, formula)
    return _by_demand(demand, observation, policy)


def _held(target: int, reason: Reason, said: str) -> _Verdict:
    return _Verdict(target, reason, f"hold {target}: {said}", target)


def _need(demand: Demand, observation: Observation, policy: ScalingPolicy) -> Need:
    load, capacity = demand.load, observation.capacity
    if capacity is None:
        return in_jobs(demand.pending_jobs, policy)
    if load is None:
        return as_before(observation.current_target)
    return in_tokens(load, capacity, observation, policy)


def _by_demand(demand: Demand, observation: Observation, policy: ScalingPolicy) -> _Verdict:
    current, need = observation.current_target, _need(demand, observation, policy)
    needed = max(need.replicas, 1 if demand.pending_jobs else 0)
    # One stays until idle_s has passed: an idle moment between two requests is no idleness.
    kept = max(1, need.keeps, observation.kept)
    wanted = max(needed, min(current, kept))
    target = policy.within(wanted)
    formula = (
        f"max({need.formula}; min({current} now, {kept} kept for a while)) = {wanted}, "
        f"within {policy.floor}..{policy.max_replicas}"
    )
    if wanted > target:
        reason = Reason.AT_MAX
    elif wanted < target:
        reason = _at_floor(policy)
    elif wanted > needed:
        reason = Reason.LULL
    elif current == 0 and needed > 0:
        reason = Reason.FROM_ZERO
    else:
        reason = Reason.DEMAND
    return _Verdict(target, reason, formula, max(needed, need.keeps))


def _at_floor(policy: ScalingPolicy) -> Reason:
    return Reason.SCHEDULED if policy.floor > policy.min_replicas else Reason.AT_MIN
