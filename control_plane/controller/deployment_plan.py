"""What a deployment needs next: replicas to add, to wake, to drain or to put to sleep, a state and
its reason (pure).

During a rollout each of its two revisions has its part of the target. Replicas of any other
earlier revision drain when a wanted one is ready and their own queue is empty. Where the last of
them is lost before that, one more finishes the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.autoscaler.boot_time import PRIOR, BootTime
from control_plane.autoscaler.crash_loop import CrashPolicy, Failures, given_up, wait_s
from control_plane.autoscaler.decision import Decision, decide
from control_plane.autoscaler.observation import Demand, Halt, Observation, ReplicaCapacity
from control_plane.autoscaler.policy import ScalingPolicy
from control_plane.controller.earlier_plan import (
    least_useful,
    left,
    outdated,
    ready_of,
    replaced,
    stranded,
)
from control_plane.controller.rollout_plan import RolloutPart
from control_plane.controller.spending import consequence
from control_plane.controller.warmth_plan import warmth
from control_plane.ledger.budget import Stage, Verdict
from control_plane.rollout.split import Running, Split, split
from control_plane.store.tables import Deployment, Instance, Replica
from infra.states import DeploymentState, ReplicaState

_ABANDONED = {
    Halt.DELETING: "deployment_deleted",
    Halt.CRASH_LOOP: "deployment_failed",
    Halt.BUDGET: "budget_spent",
}
_ONCE_READY = (DeploymentState.READY, DeploymentState.DEGRADED)
_UNPLACED = (ReplicaState.REQUESTED, ReplicaState.LAUNCHING)
_AWAY = (ReplicaState.DRAINING, ReplicaState.SLEEPING)


@dataclass(frozen=True, slots=True)
class DeploymentSeen:
    """All that is known of one deployment besides its row."""

    now: float
    """Database time."""
    replicas: Sequence[Replica]
    """Those that have not ended, oldest first."""
    running: Mapping[str, int]
    """Jobs that each replica runs, where known."""
    failures: Failures
    demand: Demand | None
    pending: Mapping[str, int] | None
    """Jobs in the queue of each revision; None where the queues cannot be asked."""
    former: Sequence[Replica] = ()
    """The newest replica, ended or not, of each of the last earlier revisions."""
    rollout: RolloutPart | None = None
    """Where the deployment is on its way from one revision to another."""
    kept: Sequence[Instance] = ()
    """Instances that stay for it although nothing runs on them."""
    boot: BootTime = PRIOR
    verdict: Verdict | None = None
    """Of its budget; None while that holds, and without one."""
    serving: int = 0
    """Replicas that are ready and speak."""
    capacity: ReplicaCapacity | None = None
    """Of one replica; None where nobody knows it."""
    uncounted: str = ""
    """Why it is not known, where there is an SLO."""
    needed: int = 0
    """As `Observation.kept`."""
    ordered: int | None = None
    """What its owner wants instead of what the autoscaler says."""


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    decision: Decision
    add: int
    drain: tuple[Replica, ...]
    state: DeploymentState
    reason: str
    finish: tuple[str, ...] = ()
    """Earlier revisions that need a replica: each as often as it does, for its part of a rollout,
    or because nobody runs what waits in its queue."""
    wake: tuple[Replica, ...] = ()
    sleep: tuple[Replica, ...] = ()
    keep: str = ""
    """The instance that stays from now on."""
    release: tuple[Instance, ...] = ()
    """Those that need not stay any longer."""
    abandon: str = ""
    """Why jobs that still wait are ended: nothing runs any more, and nothing will."""

    def changes(self, deployment: Deployment) -> bool:
        return bool(
            self.add
            or self.finish
            or self.drain
            or self.wake
            or self.sleep
            or self.keep
            or self.release
            or self.state != deployment.state
            or self.reason != deployment.reason
            or self.decision.target != deployment.target_replicas
        )


def plan(
    deployment: Deployment, seen: DeploymentSeen, policy: ScalingPolicy, crash: CrashPolicy
) -> DeploymentPlan:
    """Planning again once the plan is carried out plans nothing more."""
    halt = _halt(deployment, seen, crash)
    spent = "" if seen.verdict is None else consequence(seen.verdict)
    decision = decide(
        Observation(
            current_target=deployment.target_replicas,
            demand=seen.demand,
            halt=halt,
            boot=seen.boot,
            budget=spent,
            ready=seen.serving,
            capacity=seen.capacity,
            uncounted=seen.uncounted,
            kept=seen.needed,
            ordered=seen.ordered,
        ),
        policy,
    )
    target = decision.target
    serving = [each for each in seen.replicas if each.state not in _AWAY]
    present = [each for each in serving if each.revision_id == deployment.revision_id]
    current = [each for each in present if not each.retiring]
    retiring = [each for each in present if each.retiring]
    stable, old = _earlier(deployment, serving, seen.rollout)
    part = _split(seen.rollout, target, current, stable)
    spare = _spare(deployment, target, bool(spent), policy) if part.candidate else 0
    wanted = part.candidate + spare
    surplus = least_useful(current, seen.running)[: max(0, len(current) - wanted)]
    asleep, forgotten = _asleep(deployment, seen)
    warm = warmth(part.candidate, len(current), surplus, asleep, seen.kept, policy, halt)
    state, reason = _state(deployment, seen, halt, target, present, [*stable, *old])
    if spent and halt is None:
        reason = f"{reason}; {spent}" if reason else spent
    return DeploymentPlan(
        decision=decision,
        add=_missing([*current, *warm.wake], wanted, seen.failures, seen.now, crash),
        drain=(
            *(each for each in surplus if each not in warm.sleep),
            *left(stable, part.stable, target, seen.running, seen.pending),
            *outdated(old, [*current, *stable], target, seen.pending),
            *replaced(retiring, current, part.candidate),
            *warm.drain,
            *forgotten,
        ),
        state=state,
        reason=reason,
        finish=() if halt is not None else _finish(stable, part.stable, serving, seen, crash),
        wake=warm.wake,
        sleep=warm.sleep,
        keep=warm.keep,
        release=warm.release,
        abandon=_ABANDONED[halt] if halt is not None and not seen.replicas else "",
    )


def _asleep(deployment: Deployment, seen: DeploymentSeen) -> tuple[list[Replica], list[Replica]]:
    """Sleeping replicas of the present revision, and of former ones, which nobody will wake."""
    asleep = [each for each in seen.replicas if each.state == ReplicaState.SLEEPING]
    present = [each for each in asleep if each.revision_id == deployment.revision_id]
    return present, [each for each in asleep if each not in present]


def _halt(deployment: Deployment, seen: DeploymentSeen, crash: CrashPolicy) -> Halt | None:
    if deployment.state == DeploymentState.DELETING:
        return Halt.DELETING
    if seen.verdict is not None and seen.verdict.stage is Stage.CLOSED:
        return Halt.BUDGET
    if seen.rollout is not None:
        return None  # there is a revision to go back to
    return Halt.CRASH_LOOP if given_up(seen.failures, crash) else None


def _missing(
    current: Sequence[Replica], target: int, failures: Failures, now: float, crash: CrashPolicy
) -> int:
    """After a failed start one replica at a time is tried, and each after a longer pause."""
    missing = max(0, target - len(current))
    if not failures.count:
        return missing
    resting = given_up(failures, crash)
    resting = resting or now < failures.last_at + wait_s(failures.count, crash)
    trying = any(each.state != ReplicaState.READY for each in current)
    return 0 if resting or trying else min(missing, 1)


def _earlier(
    deployment: Deployment, serving: Sequence[Replica], rollout: RolloutPart | None
) -> tuple[list[Replica], list[Replica]]:
    """Replicas of the revision that a rollout leaves, and of all others that are not wanted."""
    old = [each for each in serving if each.revision_id != deployment.revision_id]
    leaving = rollout.revision_id if rollout is not None else ""
    stable = [each for each in old if each.revision_id == leaving]
    return stable, [each for each in old if each.revision_id != leaving]


def _split(
    rollout: RolloutPart | None,
    target: int,
    current: Sequence[Replica],
    stable: Sequence[Replica],
) -> Split:
    if rollout is None:
        return Split(stable=0, candidate=target)
    running = Running(len(stable), ready_of(stable), ready_of(current))
    return split(rollout.strategy, rollout.stage, target, running)


def _finish(
    stable: Sequence[Replica],
    wanted: int,
    serving: Sequence[Replica],
    seen: DeploymentSeen,
    crash: CrashPolicy,
) -> tuple[str, ...]:
    rollout = seen.rollout
    if rollout is None:
        return stranded(serving, seen.former, seen.pending)
    missing = _missing(stable, wanted, rollout.failures, seen.now, crash)
    waiting = stranded(serving, seen.former, seen.pending)
    also = [each for each in waiting if not missing or each != rollout.revision_id]
    return (*[rollout.revision_id] * missing, *also)


def _spare(deployment: Deployment, target: int, held: bool, policy: ScalingPolicy) -> int:
    """Against losses; none at zero or where a budget holds, and never past the maximum."""
    if not target or held:
        return 0
    return max(0, min(deployment.spare_replicas or 0, policy.max_replicas - target))


def _state(
    deployment: Deployment,
    seen: DeploymentSeen,
    halt: Halt | None,
    target: int,
    current: Sequence[Replica],
    old: Sequence[Replica],
) -> tuple[DeploymentState, str]:
    if halt is Halt.DELETING:
        # Whoever still waits must be told first.
        gone = not seen.replicas and seen.pending is not None
        return (DeploymentState.DELETED if gone else DeploymentState.DELETING), ""
    if halt is Halt.CRASH_LOOP:
        return DeploymentState.FAILED, (
            f"{seen.failures.count} replicas in a row failed to start{_cost(seen.failures)}, "
            f"the last: {seen.failures.last_reason}; change the deployment to try again"
        )
    if halt is Halt.BUDGET and seen.verdict is not None:
        return DeploymentState.IDLE, consequence(seen.verdict)
    if target == 0:
        return DeploymentState.IDLE, ""
    ready = ready_of(current)
    if seen.rollout is not None and ready_of([*current, *old]):
        return DeploymentState.UPDATING, (
            f"{seen.rollout.said}: {ready} new and {ready_of(old)} old replicas ready for a target "
            f"of {target}{_failed(seen.failures)}"
        )
    if ready >= target:
        return DeploymentState.READY, ""
    reason = f"{ready} of {target} replicas ready"
    waiting = [each.reason for each in current if each.state in _UNPLACED and each.reason]
    if seen.failures.count:
        reason += _failed(seen.failures)
    elif waiting:
        reason += f"; the next one waits: {waiting[-1]}"
    if ready_of(old):
        return DeploymentState.UPDATING, reason
    return _short(deployment, ready, failing=bool(seen.failures.count)), reason


def _cost(failures: Failures) -> str:
    return f" and cost ${failures.usd:.2f}" if failures.usd else ""


def _failed(failures: Failures) -> str:
    if not failures.count:
        return ""
    return f"; starts that failed in a row: {failures.count}, the last: {failures.last_reason}"


def _short(deployment: Deployment, ready: int, failing: bool) -> DeploymentState:
    """Fewer are ready than wanted. That others are on their way, for the first time or in the place
    of what the cloud took, is routine; that starts fail is not, once it has served."""
    if failing and (ready or deployment.state in _ONCE_READY):
        return DeploymentState.DEGRADED
    return DeploymentState.READY if ready else DeploymentState.DEPLOYING
