"""The next step of an instance's life (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.controller.instance_step import Cause, InstanceStep
from control_plane.controller.limits import Limits
from control_plane.store.repositories.operations import OperationState
from control_plane.store.tables import Instance, Operation
from infra.cloud.base import CloudInstance, CloudInstanceState
from infra.names import JOINED_CLOUD
from infra.states import InstanceState
from infra.wire import Heartbeat

STARTING = (InstanceState.REQUESTED, InstanceState.LAUNCHING)
_NOT_SERVING_YET = (InstanceState.LAUNCHING, InstanceState.BOOTING, InstanceState.JOINED)
"""Or replicas on it may not be."""
ENDING = (InstanceState.DRAINING, InstanceState.LOST)


@dataclass(frozen=True, slots=True)
class InstanceSeen:
    """All that is known of one instance besides its row."""

    now: float
    """Database time."""
    replicas: int
    """That have not ended."""
    heartbeat: Heartbeat | None
    silent_s: float
    cloud_answers: bool
    cloud_age_s: float
    """Since the cloud was asked: what was launched later it does not show."""
    machine: CloudInstance | None
    """As the cloud describes it; None where it does not know it or does not answer."""
    launch: Operation | None
    """The newest; looked up in `STARTING` states."""
    termination: Operation | None
    """The newest; looked up in `ENDING` states."""


def next_step(instance: Instance, seen: InstanceSeen, limits: Limits) -> InstanceStep | None:
    """One legal step, or None."""
    state = InstanceState(instance.state)
    if instance.cloud == JOINED_CLOUD:
        return _owned(state, instance, seen, limits)
    if state is InstanceState.REQUESTED:
        if not seen.replicas:
            return InstanceStep(InstanceState.TERMINATED, "no longer needed", Cause.NOT_NEEDED)
        return InstanceStep(InstanceState.LAUNCHING, "", Cause.LAUNCH)
    if state in ENDING:
        return _end(state, instance, seen, limits)
    if _ended_by_cloud(state, seen.machine):
        return _lost(state, seen.machine)
    if state is InstanceState.LAUNCHING:
        return _launching(instance, seen)
    unseen_s = seen.now - seen.cloud_age_s - instance.updated_at
    # A machine that still speaks to us is there, whatever the cloud says.
    missing = seen.cloud_answers and seen.machine is None and seen.heartbeat is None
    if missing and unseen_s > limits.unseen_s:
        known = {"unseen_s": round(unseen_s, 1), "limit_s": limits.unseen_s}
        reason = "the cloud does not know it"
        return InstanceStep(InstanceState.LOST, reason, Cause.UNKNOWN_TO_CLOUD, known)
    if state is InstanceState.BOOTING:
        return _booting(instance, seen, limits)
    return _joined(state, instance, seen, limits)


def needs_termination(instance: Instance, seen: InstanceSeen, limits: Limits) -> bool:
    """Whether it is time to ask the cloud for its end."""
    state = InstanceState(instance.state)
    if state not in ENDING or _under_way(seen.termination) or instance.cloud == JOINED_CLOUD:
        return False
    if state is InstanceState.LOST or instance.joined_at is None:
        return True
    # An agent that was told to leave goes by itself, after its last word.
    gone = seen.heartbeat is None and not seen.replicas
    return gone or seen.now - instance.updated_at > limits.drain_s + 2 * limits.settling_s


def launch_unrecorded(instance: Instance, seen: InstanceSeen) -> bool:
    """Whether the cloud shows the machine of a launch whose answer nobody has written down, or
    will: it was lost, and the machine joined or was given up before the launch was repeated."""
    return (
        instance.launched_at is None
        and seen.machine is not None
        and InstanceState(instance.state) not in STARTING
    )


def _owned(
    state: InstanceState, instance: Instance, seen: InstanceSeen, limits: Limits
) -> InstanceStep | None:
    """A machine that joined: no cloud speaks for it, it stays when it is empty, and it is gone when
    it says so or says nothing."""
    if state is InstanceState.LOST:
        return None if seen.replicas else InstanceStep(InstanceState.TERMINATED, instance.reason)
    if state is InstanceState.DRAINING and seen.heartbeat is None and not seen.replicas:
        return InstanceStep(InstanceState.TERMINATED, instance.reason)
    if seen.silent_s > limits.instance_lost_s:
        return _silent(seen, limits)
    if state is InstanceState.JOINED and seen.heartbeat is not None and seen.heartbeat.leaving:
        return InstanceStep(InstanceState.DRAINING, "its agent leaves", Cause.AGENT_LEFT)
    return None


def _lost(state: InstanceState, machine: CloudInstance | None) -> InstanceStep:
    reason = (machine and machine.reason) or "terminated by the cloud"
    again = machine is not None and machine.taken and state in _NOT_SERVING_YET
    return InstanceStep(InstanceState.LOST, reason, Cause.ENDED_BY_CLOUD, place_again=again)


def _ended_by_cloud(state: InstanceState, machine: CloudInstance | None) -> bool:
    """One that is shut down has an agent that leaves in order, unless it has none yet."""
    if machine is None:
        return False
    if machine.state is CloudInstanceState.STOPPING:
        return state is InstanceState.BOOTING
    return machine.state is CloudInstanceState.TERMINATED


def _launching(instance: Instance, seen: InstanceSeen) -> InstanceStep | None:
    if seen.launch is not None and seen.launch.state == OperationState.FAILED:
        reason = f"launch failed: {seen.launch.error}"
        # Where no machine was to be had, the launch itself has told why.
        cause = None if instance.refused else Cause.LAUNCH_REFUSED
        return InstanceStep(InstanceState.DRAINING, reason, cause)
    if not seen.replicas:
        return InstanceStep(InstanceState.DRAINING, "no longer needed", Cause.NOT_NEEDED)
    if seen.launch is None:
        return None
    if seen.launch.state in (OperationState.PENDING, OperationState.RUNNING):
        if not seen.launch.error or seen.launch.error == instance.reason:
            return None
        return InstanceStep(InstanceState.LAUNCHING, seen.launch.error, Cause.LAUNCH_WAITS)
    return InstanceStep(InstanceState.BOOTING, "")


def _booting(instance: Instance, seen: InstanceSeen, limits: Limits) -> InstanceStep | None:
    if not seen.replicas:
        return InstanceStep(InstanceState.DRAINING, "no longer needed", Cause.NOT_NEEDED)
    waited_s = seen.now - instance.updated_at
    if waited_s > limits.join_s:
        known = {"waited_s": round(waited_s, 1), "limit_s": limits.join_s}
        reason = f"did not join within {limits.join_s:.0f} s"
        return InstanceStep(InstanceState.DRAINING, reason, Cause.NEVER_JOINED, known)
    return None


def _joined(
    state: InstanceState, instance: Instance, seen: InstanceSeen, limits: Limits
) -> InstanceStep | None:
    if seen.silent_s > limits.instance_lost_s:
        # Its cloud may take minutes to call it terminated.
        taken = seen.machine is not None and seen.machine.taken
        return _lost(state, seen.machine) if taken else _silent(seen, limits)
    if seen.heartbeat is not None and seen.heartbeat.leaving:
        return InstanceStep(InstanceState.DRAINING, "its agent leaves", Cause.AGENT_LEFT)
    # What the cloud wants back stays warm for nobody, whether it is taken in the end or not.
    stays = state is InstanceState.JOINED and instance.kept_for
    if not seen.replicas and not stays:
        return InstanceStep(InstanceState.DRAINING, "empty", Cause.EMPTY)
    if state is InstanceState.JOINED and seen.machine is not None and seen.machine.noticed:
        return InstanceStep(InstanceState.NOTICED, "the cloud takes it away", Cause.NOTICED)
    return None


def _silent(seen: InstanceSeen, limits: Limits, while_: str = "") -> InstanceStep:
    known = {"silent_s": round(seen.silent_s, 1), "limit_s": limits.instance_lost_s}
    reason = f"silent for {seen.silent_s:.0f} s{while_}"
    return InstanceStep(InstanceState.LOST, reason, Cause.SILENT, known)


def _end(
    state: InstanceState, instance: Instance, seen: InstanceSeen, limits: Limits
) -> InstanceStep | None:
    stopped = seen.machine is not None and seen.machine.state is CloudInstanceState.TERMINATED
    ended = seen.termination is not None and seen.termination.state == OperationState.SUCCEEDED
    if stopped or ended:
        return InstanceStep(InstanceState.TERMINATED, instance.reason)
    joined = instance.joined_at is not None
    if state is InstanceState.DRAINING and joined and seen.silent_s > limits.instance_lost_s:
        return _silent(seen, limits, " while draining")
    return None


def _under_way(operation: Operation | None) -> bool:
    """Running, or done: a failed one is repeated, since the machine may still cost money."""
    return operation is not None and operation.state != OperationState.FAILED
