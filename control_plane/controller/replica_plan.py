"""The next step of a replica's life, from its instance and from what its agent says (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.controller.limits import Limits
from control_plane.store.tables import Instance, Replica
from infra.states import InstanceState, ReplicaState, is_final
from infra.wire import Heartbeat, ReplicaReport

NO_ROOM = "waits for a machine with a free slot: 'tamer worker token' lets one join"
"""Why a replica waits where nothing can be launched."""

_START = (
    ReplicaState.REQUESTED,
    ReplicaState.LAUNCHING,
    ReplicaState.BOOTING,
    ReplicaState.LOADING,
    ReplicaState.READY,
)
_GONE = (InstanceState.LOST, InstanceState.TERMINATED)


@dataclass(frozen=True, slots=True)
class ReplicaStep:
    to: ReplicaState
    reason: str = ""


def is_settled(replica: Replica, ready_on: Instance | None) -> bool:
    """Nearly all replicas are, in nearly every pass, and none of them has a next step: it serves,
    its agent says so, and its machine stays.

    Args:
        ready_on: the instance whose agent says in its heartbeat that the replica is ready.
    """
    return (
        ready_on is not None
        and ready_on.id == replica.instance_id
        and replica.state == ReplicaState.READY
        and ready_on.state == InstanceState.JOINED
    )


def next_step(
    replica: Replica,
    instance: Instance | None,
    heartbeat: Heartbeat | None,
    now: float,
    limits: Limits,
) -> ReplicaStep | None:
    """One legal step, or None. A replica without an instance needs one: that is `LAUNCHING`.

    Args:
        heartbeat: the instance's, if it is not silent.
        now: database time.
    """
    state = ReplicaState(replica.state)
    if instance is None:
        if state is ReplicaState.DRAINING:
            return ReplicaStep(ReplicaState.TERMINATED, "ended before it had an instance")
        return ReplicaStep(ReplicaState.LAUNCHING)
    if instance.refused and state in (ReplicaState.LAUNCHING, ReplicaState.BOOTING):
        return ReplicaStep(ReplicaState.REQUESTED, instance.reason)
    if InstanceState(instance.state) in _GONE:
        return _bereaved(state, instance)
    report = _report(replica, heartbeat)
    if state is ReplicaState.DRAINING:
        return _end_of_draining(replica, instance, heartbeat, report, now, limits)
    if report is not None and is_final(report.state):
        return ReplicaStep(report.state, report.reason or "ended by its agent")
    if _must_drain(instance, report):
        return _leaving(instance)
    if state is ReplicaState.SLEEPING:
        return None
    reached = _reached(instance, report)
    if state is reached is ReplicaState.LAUNCHING:
        # The launch has a deadline of its own; why it takes so long, the instance says.
        told = (instance.reason or "") == (replica.reason or "")
        return None if told else ReplicaStep(state, instance.reason)
    if state in _START[:-1] and now - replica.updated_at > limits.start_s:
        return ReplicaStep(ReplicaState.FAILED, f"not ready within {limits.start_s:.0f} s")
    if replica.wakes and not _has_heard(instance, heartbeat):
        return None  # it speaks of the time before it slept
    return _towards(state, reached, report)


def _has_heard(instance: Instance, heartbeat: Heartbeat | None) -> bool:
    """Whether its agent knows what it shall run now."""
    return heartbeat is not None and heartbeat.assignment_version >= instance.assignment_version


def _report(replica: Replica, heartbeat: Heartbeat | None) -> ReplicaReport | None:
    reports = heartbeat.replicas if heartbeat is not None else []
    return next((each for each in reports if each.replica_id == replica.id), None)


def _bereaved(state: ReplicaState, instance: Instance) -> ReplicaStep:
    reason = f"instance {instance.state}: {instance.reason}"
    # One that the cloud took while a replica loaded on it says nothing of that replica's starts.
    taken = instance.refused and state is ReplicaState.LOADING
    if taken or state is ReplicaState.DRAINING:
        return ReplicaStep(ReplicaState.TERMINATED, reason)
    return ReplicaStep(ReplicaState.FAILED, reason)


def _must_drain(instance: Instance, report: ReplicaReport | None) -> bool:
    leaving = instance.state in (InstanceState.NOTICED, InstanceState.DRAINING)
    return leaving or (report is not None and report.state is ReplicaState.DRAINING)


def _leaving(instance: Instance) -> ReplicaStep:
    """A machine that goes before it ever served is a failed start; afterwards it just drains."""
    reason = instance.reason or "its agent drains it"
    if instance.joined_at is None:
        return ReplicaStep(ReplicaState.FAILED, reason)
    return ReplicaStep(ReplicaState.DRAINING, reason)


def _end_of_draining(
    replica: Replica,
    instance: Instance,
    heartbeat: Heartbeat | None,
    report: ReplicaReport | None,
    now: float,
    limits: Limits,
) -> ReplicaStep | None:
    if report is not None and is_final(report.state):
        return ReplicaStep(report.state, report.reason)
    heard = _has_heard(instance, heartbeat)
    if instance.joined_at is None or (heard and report is None):
        return ReplicaStep(ReplicaState.TERMINATED, "drained")
    if now - replica.updated_at > limits.drain_s + limits.settling_s:
        return ReplicaStep(ReplicaState.TERMINATED, f"did not drain within {limits.drain_s:.0f} s")
    return None


def _reached(instance: Instance, report: ReplicaReport | None) -> ReplicaState:
    if report is not None and report.state in _START[2:]:
        return report.state
    booted = instance.state in (InstanceState.BOOTING, InstanceState.JOINED)
    return ReplicaState.BOOTING if booted else ReplicaState.LAUNCHING


def _towards(
    state: ReplicaState, reached: ReplicaState, report: ReplicaReport | None
) -> ReplicaStep | None:
    reason = report.reason if report is not None else ""
    at, to = _START.index(state), _START.index(reached)
    if at >= to:
        return None
    # `ready` comes after `loading`, even where we only heard of the end of it.
    passing = to == len(_START) - 1 and at < to - 1
    return ReplicaStep(_START[to - 1] if passing else reached, reason)
