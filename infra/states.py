"""The life of a deployment, a rollout, a replica, an instance and a job, each with one transition
function.

A state changes only through `advance`; a step that the table does not allow raises
`IllegalTransition`, so that a bug shows where it happens and not where it hurts.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class DeploymentState(StrEnum):
    PENDING = "pending"
    DEPLOYING = "deploying"
    READY = "ready"
    UPDATING = "updating"
    DEGRADED = "degraded"
    IDLE = "idle"
    FAILED = "failed"
    DELETING = "deleting"
    DELETED = "deleted"


class RolloutState(StrEnum):
    PREPARING = "preparing"
    """The replicas of a step are on their way; traffic is as before."""
    WATCHING = "watching"
    """Traffic is as the step wants it, and is judged."""
    FINISHED = "finished"
    ROLLED_BACK = "rolled_back"
    """The old revision runs again, because of what was measured."""
    ABORTED = "aborted"
    """The old revision runs again, because its owner said so."""
    SUPERSEDED = "superseded"
    """Another revision was deployed meanwhile, or the deployment deleted."""


class ReplicaState(StrEnum):
    REQUESTED = "requested"
    LAUNCHING = "launching"
    BOOTING = "booting"
    LOADING = "loading"
    READY = "ready"
    SLEEPING = "sleeping"
    DRAINING = "draining"
    TERMINATED = "terminated"
    FAILED = "failed"


class InstanceState(StrEnum):
    REQUESTED = "requested"
    LAUNCHING = "launching"
    BOOTING = "booting"
    JOINED = "joined"
    NOTICED = "noticed"
    DRAINING = "draining"
    TERMINATED = "terminated"
    LOST = "lost"


class JobState(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"
    STREAMING = "streaming"
    ORPHANED = "orphaned"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class IllegalTransition(ValueError):
    """A state was asked to become one that may not follow it."""


State = TypeVar("State", DeploymentState, RolloutState, ReplicaState, InstanceState, JobState)

_UNTIL_DELETED = frozenset(
    {
        DeploymentState.DEPLOYING,
        DeploymentState.READY,
        DeploymentState.UPDATING,
        DeploymentState.DEGRADED,
        DeploymentState.IDLE,
        DeploymentState.FAILED,
        DeploymentState.DELETING,
    }
)
_NONE: frozenset[str] = frozenset()

_DEPLOYMENT: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("pending", *_UNTIL_DELETED), frozenset(_UNTIL_DELETED)),
    "deleting": frozenset({"deleted"}),
    "deleted": _NONE,
}
_ENDS_OF_ROLLOUT = ("finished", "rolled_back", "aborted", "superseded")
_ROLLOUT: Mapping[str, frozenset[str]] = {
    "preparing": frozenset({"watching", *_ENDS_OF_ROLLOUT}),
    "watching": frozenset({"preparing", *_ENDS_OF_ROLLOUT}),
    **dict.fromkeys(_ENDS_OF_ROLLOUT, _NONE),
}
_REPLICA: Mapping[str, frozenset[str]] = {
    "requested": frozenset({"launching", "booting", "loading", "draining", "terminated", "failed"}),
    # Again: the cloud had no machine to give.
    "launching": frozenset({"requested", "booting", "loading", "draining", "terminated", "failed"}),
    "booting": frozenset({"requested", "loading", "draining", "terminated", "failed"}),
    "loading": frozenset({"ready", "draining", "terminated", "failed"}),
    "ready": frozenset({"sleeping", "draining", "terminated", "failed"}),
    "sleeping": frozenset({"loading", "ready", "draining", "terminated", "failed"}),
    "draining": frozenset({"terminated", "failed"}),
    "terminated": _NONE,
    "failed": _NONE,
}
_INSTANCE: Mapping[str, frozenset[str]] = {
    "requested": frozenset({"launching", "terminated"}),
    "launching": frozenset({"booting", "joined", "draining", "terminated", "lost"}),
    "booting": frozenset({"joined", "draining", "terminated", "lost"}),
    "joined": frozenset({"noticed", "draining", "terminated", "lost"}),
    "noticed": frozenset({"draining", "terminated", "lost"}),
    "draining": frozenset({"terminated", "lost"}),
    "lost": frozenset({"terminated"}),
    "terminated": _NONE,
}
_JOB: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"leased", "completed", "failed", "cancelled", "expired"}),
    "leased": frozenset({"streaming", "orphaned", "completed", "failed", "cancelled"}),
    "streaming": frozenset({"orphaned", "completed", "failed", "cancelled"}),
    "orphaned": frozenset({"queued", "completed", "failed", "cancelled", "expired"}),
    "completed": _NONE,
    "failed": _NONE,
    "cancelled": _NONE,
    "expired": _NONE,
}
_TABLES: Mapping[type[StrEnum], Mapping[str, frozenset[str]]] = {
    DeploymentState: _DEPLOYMENT,
    RolloutState: _ROLLOUT,
    ReplicaState: _REPLICA,
    InstanceState: _INSTANCE,
    JobState: _JOB,
}


def following(state: State) -> frozenset[State]:
    """The states that may come next; empty where the life has ended."""
    kind = type(state)
    return frozenset(kind(name) for name in _TABLES[kind][state])


def is_final(state: State) -> bool:
    return not _TABLES[type(state)][state]


def advance(state: State, to: State) -> State:
    """Return `to` if it may follow `state` (a state may always follow itself).

    Raises:
        IllegalTransition: the table does not allow the step.
    """
    if to != state and to not in following(state):
        raise IllegalTransition(f"{type(state).__name__}: {state.value} cannot become {to.value}")
    return to
