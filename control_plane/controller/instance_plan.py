"""The next step of an instance's life (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.controller.limits import Limits
from control_plane.store.repositories.operations import OperationState
from control_plane.store.tables import Instance, Operation
from infra.cloud.base import CloudInstance, CloudInstanceState
from infra.names import JOINED_CLOUD
from infra.states import InstanceState
from infra.wire import Heartbeat

STARTING = (InstanceState.REQUESTED, InstanceState.LAUNCHING)
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
    machine: CloudInstance | None
    """As the cloud describes it; None where it does not know it or does not answer."""
    launch: Operation | None
    """The newest; looked up in `STARTING` states."""
    termination: Operation | None
    """The newest; looked up in `ENDING` states."""


@dataclass(frozen=True, slots=True)
class InstanceStep:
    to: InstanceState
    reason: str


def next_step(instance: Instance, seen: InstanceSeen, limits: Limits) -> InstanceStep | None:
    """One legal step, or None."""
    state = InstanceState(instance.state)
    if instance.cloud == JOINED_CLOUD:
        return _owned(state, instance, seen, limits)
    if state is InstanceState.REQUESTED:
        if not seen.replicas:
            return InstanceStep(InstanceState.TERMINATED, "no longer needed")
        return InstanceStep(InstanceState.LAUNCHING, "")
    if state in ENDING:
        return _end(state, instance, seen, limits)
    if seen.machine is not None and seen.machine.state is CloudInstanceState.TERMINATED:
        return InstanceStep(InstanceState.LOST, seen.machine.reason or "terminated by the cloud")
    if state is InstanceState.LAUNCHING:
        return _launching(seen)
    if _unknown_to_the_cloud(instance, seen, limits):
        return InstanceStep(InstanceState.LOST, "the cloud does not know it")
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
        return InstanceStep(InstanceState.LOST, f"silent for {seen.silent_s:.0f} s")
    if state is InstanceState.JOINED and seen.heartbeat is not None and seen.heartbeat.leaving:
        return InstanceStep(InstanceState.DRAINING, "its agent leaves")
    return None


def _launching(seen: InstanceSeen) -> InstanceStep | None:
    if seen.launch is not None and seen.launch.state == OperationState.FAILED:
        return InstanceStep(InstanceState.DRAINING, f"launch failed: {seen.launch.error}")
    if not seen.replicas:
        return InstanceStep(InstanceState.DRAINING, "no longer needed")
    if seen.launch is None or seen.launch.state in (OperationState.PENDING, OperationState.RUNNING):
        return None
    return InstanceStep(InstanceState.BOOTING, "")


def _booting(instance: Instance, seen: InstanceSeen, limits: Limits) -> InstanceStep | None:
    if not seen.replicas:
        return InstanceStep(InstanceState.DRAINING, "no longer needed")
    if seen.now - instance.updated_at > limits.join_s:
        return InstanceStep(InstanceState.DRAINING, f"did not join within {limits.join_s:.0f} s")
    return None


def _joined(
    state: InstanceState, instance: Instance, seen: InstanceSeen, limits: Limits
) -> InstanceStep | None:
    if seen.silent_s > limits.instance_lost_s:
        return InstanceStep(InstanceState.LOST, f"silent for {seen.silent_s:.0f} s")
    if seen.heartbeat is not None and seen.heartbeat.leaving:
        return InstanceStep(InstanceState.DRAINING, "its agent leaves")
    if not seen.replicas and not instance.kept_for:
        return InstanceStep(InstanceState.DRAINING, "empty")
    if state is InstanceState.JOINED and seen.machine is not None and seen.machine.noticed:
        return InstanceStep(InstanceState.NOTICED, "the cloud takes it away")
    return None


def _unknown_to_the_cloud(instance: Instance, seen: InstanceSeen, limits: Limits) -> bool:
    """A machine that still speaks to us is there, whatever the cloud says."""
    missing = seen.cloud_answers and seen.machine is None and seen.heartbeat is None
    return missing and seen.now - instance.updated_at > limits.settling_s


def _end(
    state: InstanceState, instance: Instance, seen: InstanceSeen, limits: Limits
) -> InstanceStep | None:
    stopped = seen.machine is not None and seen.machine.state is CloudInstanceState.TERMINATED
    ended = seen.termination is not None and seen.termination.state == OperationState.SUCCEEDED
    if stopped or ended:
        return InstanceStep(InstanceState.TERMINATED, instance.reason)
    joined = instance.joined_at is not None
    if state is InstanceState.DRAINING and joined and seen.silent_s > limits.instance_lost_s:
        return InstanceStep(InstanceState.LOST, f"silent for {seen.silent_s:.0f} s while draining")
    return None


def _under_way(operation: Operation | None) -> bool:
    """Running, or done: a failed one is repeated, since the machine may still cost money."""
    return operation is not None and operation.state != OperationState.FAILED
