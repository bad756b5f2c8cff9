"""What the store says of placement: who waits for a machine, what runs where, what pools taught."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.live import Live
from control_plane.store.clock import read_clock
from control_plane.store.repositories import deployments, instances, pools, replicas, revisions
from control_plane.store.tables import Deployment, Instance, Model, Pool, Quota, Replica, Revision
from infra.states import InstanceState, ReplicaState

_STAYING = (
    InstanceState.REQUESTED,
    InstanceState.LAUNCHING,
    InstanceState.BOOTING,
    InstanceState.JOINED,
)
_LEAVING = (ReplicaState.DRAINING,)


@dataclass(frozen=True, slots=True)
class Placed:
    """One deployment's replicas of one revision that have not ended and do not leave. In the middle
    of a rollout there are two of them: another model may need another machine."""

    deployment: Deployment
    revision: Revision
    model: Model
    waiting: Sequence[Replica]
    """Without an instance, oldest first."""
    running: Sequence[tuple[Replica, Instance]]
    """On instances that stay; none that is to be replaced."""

    @property
    def id(self) -> str:
        """The deployment's, where this is its present revision."""
        deployment, revision = self.deployment, self.revision
        former = revision.id != deployment.revision_id
        return f"{deployment.id} {revision.id}" if former else deployment.id

    def shares_with(self, other: Placed) -> bool:
        """The limits of a deployment, of which each is another revision."""
        return self.deployment.id == other.deployment.id and self.id != other.id

    @property
    def calm(self) -> bool:
        """Whether nothing of it is on its way."""
        return not self.waiting and all(
            each.state == ReplicaState.READY for each, _ in self.running
        )


@dataclass(frozen=True, slots=True)
class PlacementRows:
    now: float
    """Database time."""
    placed: Sequence[Placed]
    instances: Sequence[Instance]
    """Of the cloud, that stay."""
    slots_taken: dict[str, int]
    """Replicas on each instance that have not ended."""
    emptied: frozenset[str]
    """Instances that are to end when their replicas are replaced."""
    pools: Sequence[Pool]
    quotas: Sequence[Quota]
    leaving: Sequence[Instance] = ()
    """Of the cloud, on their way out: they count with a quota until they are gone."""

    @property
    def waits(self) -> bool:
        return any(each.waiting for each in self.placed)


def anybody_waits(live: Live) -> bool:
    return any(
        each.instance_id is None and each.state == ReplicaState.REQUESTED
        for each in live.replicas.values()
    )


async def load(session: AsyncSession, cloud: str) -> PlacementRows:
    """As the store says now: what the pass read may be older than the last plan."""
    now = await read_clock(session)
    live = await replicas.live(session)
    there = [each for each in await instances.live(session) if each.cloud == cloud]
    staying = {each.id: each for each in there if each.state in _STAYING and not each.refused}
    taken: dict[str, int] = {}
    for replica in live:
        if replica.instance_id is not None:
            taken[replica.instance_id] = taken.get(replica.instance_id, 0) + 1
    return PlacementRows(
        now,
        await _placed(session, live, staying),
        list(staying.values()),
        taken,
        frozenset(each.instance_id or "" for each in live if each.retiring),
        await pools.of_cloud(session, cloud),
        await pools.quotas(session, cloud),
        [each for each in there if each.id not in staying and each.cloud_id],
    )


async def _placed(
    session: AsyncSession, live: Iterable[Replica], staying: Mapping[str, Instance]
) -> list[Placed]:
    groups: dict[str, dict[str, list[Replica]]] = {}
    for each in live:
        if each.state not in _LEAVING and not each.retiring:
            own = groups.setdefault(each.deployment_id, {})
            own.setdefault(each.revision_id, []).append(each)
    known = await revisions.by_id(session, {id for own in groups.values() for id in own})
    return [
        Placed(
            found.deployment,
            known[revision_id],
            await session.get_one(Model, known[revision_id].model_id),
            [each for each in own if each.instance_id is None],
            [
                (each, staying[each.instance_id])
                for each in own
                if each.instance_id is not None and each.instance_id in staying
            ],
        )
        for found in await deployments.all_live(session)
        for revision_id, own in groups.get(found.deployment.id, {}).items()
    ]
