"""The state of a deployment, and its reason for whoever asks (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.autoscaler.crash_loop import Failures
from control_plane.autoscaler.observation import Halt
from control_plane.controller.deployment_seen import DeploymentSeen
from control_plane.controller.earlier_plan import ready_of
from control_plane.controller.spending import consequence
from control_plane.store.tables import Deployment, Replica
from infra.states import DeploymentState, ReplicaState

_ONCE_READY = (DeploymentState.READY, DeploymentState.DEGRADED)
_UNPLACED = (ReplicaState.REQUESTED, ReplicaState.LAUNCHING)


def state_of(
    deployment: Deployment,
    seen: DeploymentSeen,
    halt: Halt | None,
    target: int,
    current: Sequence[Replica],
    old: Sequence[Replica],
    resting: bool = False,
) -> tuple[DeploymentState, str]:
    """
    Args:
        target: replicas that are wanted.
        current: those of the present revision that serve or start; `old`: those of earlier ones.
        resting: too many starts have failed for another one to be tried.
    """
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
        if resting:
            reason += "; no more are tried until the deployment is changed"
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
