"""The way back from a rollout that was ended in the middle: old replicas first, then traffic
(pure).

The revision that it was bringing serves beside the old one until that has its replicas again. One
that was found to fail requests does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.controller.earlier_plan import least_useful, ready_of
from control_plane.controller.replica_plan import NO_ROOM
from control_plane.controller.rollout_spec import strategy
from control_plane.store.tables import Deployment, Replica, Rollout
from infra.states import RolloutState

_ENDED = (RolloutState.ROLLED_BACK, RolloutState.ABORTED, RolloutState.SUPERSEDED)
_ROOM_S = 60.0
"""For which a replica waits for the room that those that go may have."""

Tries = Mapping[str, Rollout]
"""By revision, the newest rollout to it."""


@dataclass(frozen=True, slots=True)
class WayBack:
    drain: Sequence[Replica] = ()
    over: str = ""
    """Why the traffic leaves them now; empty while it does not."""


def giving_way(tries: Tries, stable: str) -> set[str]:
    """Revisions with a part of the traffic of one that was not to be left."""
    return {
        revision_id
        for revision_id, row in tries.items()
        if row.from_revision_id == stable and row.state in _ENDED and row.percent
    }


def way_back(
    deployment: Deployment,
    tries: Tries,
    going: Sequence[Replica],
    staying: Sequence[Replica],
    target: int,
    spent: str,
    running: Mapping[str, int],
    now: float,
) -> WayBack:
    """What of the revisions that give way goes now.

    Args:
        going: their replicas.
        staying: those of the revisions that are wanted.
        target: how many these are to be.
        spent: why there may be no more replicas; empty: there may.
    """
    missing = max(0, target - ready_of(staying))
    over = _over(deployment, tries, staying, target, missing, spent, now)
    if over:
        return WayBack(over=over)
    ready = ready_of(going)
    return WayBack(drain=least_useful(going, running, len(going) - min(ready, missing)))


def _over(
    deployment: Deployment,
    tries: Tries,
    staying: Sequence[Replica],
    target: int,
    missing: int,
    spent: str,
    now: float,
) -> str:
    if not missing:
        return f"{ready_of(staying)} of {target} replicas ready"
    if spent:
        return spent
    crowded = [each for each in staying if _has_no_room(deployment, each, now)]
    if crowded:
        return f"no room for both revisions: {crowded[0].reason or 'replicas wait for a machine'}"
    limit_s = strategy(deployment.spec).ready_limit_s
    if all(now - (row.ended_at or 0.0) > limit_s for row in tries.values()):
        return f"waited {limit_s:g} s for {missing} more replicas"
    return ""


def _has_no_room(deployment: Deployment, replica: Replica, now: float) -> bool:
    """Others cost what it may cost, or are where it would be."""
    limited = deployment.spec.get("placement", {}).get("max_usd_per_hour") is not None
    waits = replica.instance_id is None and now - replica.created_at > _ROOM_S
    return waits and (limited or replica.reason == NO_ROOM)
