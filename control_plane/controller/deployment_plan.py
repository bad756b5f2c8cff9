"""What a deployment needs next: replicas to add, to wake, to drain or to put to sleep, a state and
its reason (pure).

During a rollout each of its two revisions has its part of the target. Replicas of any other
earlier revision drain when a wanted one is ready and their own queue is empty. Where the last of
them is lost before that, one more finishes the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.autoscaler.crash_loop import CrashPolicy, Failures, given_up, wait_s
from control_plane.autoscaler.decision import Decision, decide
from control_plane.autoscaler.observation import Halt, Observation
from control_plane.autoscaler.policy import ScalingPolicy
from control_plane.controller.deployment_seen import DeploymentSeen
from control_plane.controller.deployment_state import state_of
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
from control_plane.controller.way_back import WayBack, way_back
from control_plane.ledger.budget import Stage
from control_plane.rollout.split import Running, Split, split
from control_plane.store.tables import Deployment, Instance, Replica
from infra.states import DeploymentState, ReplicaState

_ABANDONED = {
    Halt.DELETING: "deployment_deleted",
    Halt.CRASH_LOOP: "deployment_failed",
    Halt.BUDGET: "budget_spent",
}
_AWAY = (ReplicaState.DRAINING, ReplicaState.SLEEPING)


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
    hand_back: str = ""
    """Why revisions that give way serve no longer; their replicas drain when nothing waits."""
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
            or self.hand_back
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
            before=seen.before,
        ),
        policy,
    )
    target = decision.target
    serving = [each for each in seen.replicas if each.state not in _AWAY]
    present = [each for each in serving if each.revision_id == deployment.revision_id]
    current = [each for each in present if not each.retiring]
    retiring = [each for each in present if each.retiring]
    stable, old = _earlier(deployment, serving, seen.rollout)
    going = [each for each in old if target and each.revision_id in seen.giving_way]
    gone = [each for each in old if each not in going]
    part = _split(seen.rollout, target, current, stable, crash)
    back = WayBack()
    if going:
        stay = [*current, *stable]
        back = way_back(
            deployment, seen.giving_way, going, stay, target, spent, seen.running, seen.now
        )
    spare = _spare(deployment, target, bool(spent), policy) if part.candidate else 0
    wanted = part.candidate + spare
    surplus = least_useful(current, seen.running, len(current) - wanted)
    asleep, forgotten = _asleep(deployment, seen)
    warm = warmth(part.candidate, len(current), surplus, asleep, seen.kept, policy, halt)
    staying = sum(not each.retiring for each in serving)
    held = bool(spent) and target == 0
    nothing_starts = halt is not None or target == 0
    finish = () if nothing_starts else _finish(stable, part.stable, serving, seen, crash)
    resting = given_up(seen.failures, crash)
    state, reason = state_of(deployment, seen, halt, target, present, [*stable, *old], resting)
    if spent and halt is None:
        told = f"{spent}, and none runs: requests are refused" if held else spent
        reason = f"{reason}; {told}" if reason else told
    return DeploymentPlan(
        decision=decision,
        add=min(
            _missing([*current, *warm.wake], wanted, seen.failures, seen.now, crash),
            # A rollout's surge is more than there was, and a spent budget allows no more.
            max(0, target - staying - len(finish)) if spent else wanted,
        ),
        drain=(
            *(each for each in surplus if each not in warm.sleep),
            *left(stable, part.stable, target, seen.running, seen.pending),
            *outdated(gone, [*current, *stable], target, seen.pending),
            *back.drain,
            *replaced(retiring, current, part.candidate),
            *warm.drain,
            *forgotten,
        ),
        state=state,
        reason=reason,
        finish=finish,
        wake=warm.wake,
        sleep=warm.sleep,
        keep=warm.keep,
        release=warm.release,
        abandon=_abandon(seen, halt, held),
        hand_back=back.over,
    )


def _abandon(seen: DeploymentSeen, halt: Halt | None, held: bool) -> str:
    """While anything of it runs, or leaves, what it has taken may still be answered."""
    if halt is not None:
        return "" if seen.replicas else _ABANDONED[halt]
    running = any(each.state != ReplicaState.SLEEPING for each in seen.replicas)
    return _ABANDONED[Halt.BUDGET] if held and not running else ""


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
    if not given_up(seen.failures, crash) or ready_of(seen.replicas):
        return None  # where nothing more is tried, what serves goes on
    return Halt.CRASH_LOOP


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
    crash: CrashPolicy,
) -> Split:
    # Of what no longer starts nobody takes over step by step: whatever comes goes to the new one.
    if rollout is None or (not stable and given_up(rollout.failures, crash)):
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
