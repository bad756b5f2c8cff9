"""What stays warm while a deployment is at zero, and what wakes when demand returns (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.autoscaler.observation import Halt
from control_plane.autoscaler.policy import KeepWarm, ScalingPolicy
from control_plane.store.tables import Instance, Replica
from infra.states import ReplicaState

_WITH_MACHINE = (KeepWarm.MACHINE, KeepWarm.STANDBY)


@dataclass(frozen=True, slots=True)
class Warmth:
    """As in `DeploymentPlan`."""

    wake: tuple[Replica, ...] = ()
    sleep: tuple[Replica, ...] = ()
    drain: tuple[Replica, ...] = ()
    """Those that sleep for nobody any more."""
    keep: str = ""
    release: tuple[Instance, ...] = ()


def warmth(
    target: int,
    current: int,
    surplus: Sequence[Replica],
    asleep: Sequence[Replica],
    kept: Sequence[Instance],
    policy: ScalingPolicy,
    halt: Halt | None,
) -> Warmth:
    """One replica or one instance stays, whatever ran before: enough to answer the first request.

    Args:
        target: replicas that are wanted.
        current: those of the present revision that serve or start.
        surplus: those of them that are too many, the most useful last.
        asleep: replicas of the present revision that sleep.
        kept: instances that stay now.
    """
    keeps = policy.keep_warm if halt is None else KeepWarm.NONE
    woken = asleep[: max(0, target - current)]
    staying = asleep[len(woken) :][:1] if keeps is KeepWarm.SLEEP else []
    best = surplus[-1:] if target == 0 else []
    ready = [each for each in best if each.state == ReplicaState.READY]
    sleeps = ready if keeps is KeepWarm.SLEEP and not staying else []
    stays = ready if keeps in _WITH_MACHINE and not kept else []
    return Warmth(
        wake=tuple(woken),
        sleep=tuple(sleeps),
        drain=tuple(each for each in asleep if each not in woken and each not in staying),
        keep=next((each.instance_id for each in stays if each.instance_id), ""),
        release=tuple(kept[1:] if keeps in _WITH_MACHINE else kept),
    )
