"""Which replicas go before others, and when those of an earlier revision do (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from control_plane.store.tables import Replica
from infra.states import ReplicaState

_LEAST_WORTH_FIRST = tuple(ReplicaState)
"""Their order is the order of a replica's life."""

Pending = Mapping[str, int] | None
"""Jobs in the queue of each revision; None where the queues cannot be asked."""


def ready_of(replicas: Sequence[Replica]) -> int:
    return sum(each.state == ReplicaState.READY for each in replicas)


def least_useful(
    current: Sequence[Replica], running: Mapping[str, int], count: int
) -> list[Replica]:
    """So many, those that are furthest from ready first, then the least busy, then the newest."""
    if count <= 0:
        return []
    newest_first = sorted(current, key=lambda each: each.id, reverse=True)
    return sorted(
        newest_first,
        key=lambda each: (
            _LEAST_WORTH_FIRST.index(ReplicaState(each.state)),
            running.get(each.id, 0),
        ),
    )[:count]


def left(
    stable: Sequence[Replica],
    wanted: int,
    target: int,
    running: Mapping[str, int],
    pending: Pending,
) -> list[Replica]:
    """The last one stays until the queue of its revision is empty."""
    surplus = least_useful(stable, running, len(stable) - wanted)
    waiting = pending is None or any(pending.get(each.revision_id, 0) for each in stable[:1])
    if target and waiting and len(surplus) == len(stable):
        return surplus[:-1]
    return surplus


def outdated(
    old: Sequence[Replica], current: Sequence[Replica], target: int, pending: Pending
) -> list[Replica]:
    if target == 0:
        return list(old)
    if not old or pending is None or not ready_of(current):
        return []
    return [each for each in old if not pending.get(each.revision_id, 0)]


def replaced(
    retiring: Sequence[Replica], current: Sequence[Replica], target: int
) -> Sequence[Replica]:
    """Those that were to serve until others do in their place."""
    return retiring if retiring and ready_of(current) >= target else ()


def stranded(
    serving: Sequence[Replica], former: Sequence[Replica], pending: Pending
) -> tuple[str, ...]:
    """Tried until a start fails: an old revision that no longer starts is left. One that ended in
    another way, since it was too many or the cloud took its machine, says nothing of that."""
    waiting, served = pending or {}, {each.revision_id for each in serving}
    return tuple(
        each.revision_id
        for each in former
        if (each.ready_at is not None or each.state != ReplicaState.FAILED)
        and each.revision_id not in served
        and waiting.get(each.revision_id, 0)
    )
