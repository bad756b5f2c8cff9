"""Remembers what earlier revisions ran last: history that grows, and is asked every pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.repositories import replicas
from control_plane.store.repositories.listings import Deployed
from control_plane.store.tables import Deployment, Replica

_FORMER = 3
"""Earlier revisions whose queues are watched."""

_Key = tuple[int, frozenset[str]]
"""A deployment's generation, and its live replicas of other revisions than the present one: as long
as both stay, what has ended of those revisions is what it was."""


class FormerMemory:
    def __init__(self) -> None:
        self._known: dict[str, tuple[_Key, Sequence[Replica]]] = {}

    async def of(
        self, session: AsyncSession, deployed: Sequence[Deployed], live: Iterable[Replica]
    ) -> Mapping[str, Sequence[Replica]]:
        """The newest replica, ended or not, of each of the last other revisions of a deployment;
        one that was never changed has none."""
        changed = {each.deployment.id: each.deployment for each in deployed}
        changed = {id: each for id, each in changed.items() if each.generation > 1}
        present = _of_other_revisions(changed, live)
        keys = {
            id: (each.generation, frozenset(replica.id for replica in present[id]))
            for id, each in changed.items()
        }
        self._known = {id: self._known[id] for id in keys if id in self._known}
        new = [each for id, each in changed.items() if self._key_of(id) != keys[id]]
        for id, found in (await self.read(session, new)).items():
            self._known[id] = (keys[id], found)
        return {id: _as_they_are(found, present[id]) for id, (_, found) in self._known.items()}

    async def read(
        self, session: AsyncSession, changed: Sequence[Deployment]
    ) -> Mapping[str, Sequence[Replica]]:
        """As the rows are now."""
        wanted = [each.id for each in changed if each.generation > 1]
        if not wanted:
            return {}
        found = await replicas.newest_of_former(session, wanted, _FORMER)
        return {id: found.get(id, ()) for id in wanted}

    def _key_of(self, deployment_id: str) -> _Key | None:
        known = self._known.get(deployment_id)
        return known[0] if known is not None else None


def _of_other_revisions(
    changed: Mapping[str, Deployment], live: Iterable[Replica]
) -> defaultdict[str, list[Replica]]:
    found: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in live:
        deployment = changed.get(replica.deployment_id)
        if deployment is not None and replica.revision_id != deployment.revision_id:
            found[deployment.id].append(replica)
    return found


def _as_they_are(found: Sequence[Replica], live: Iterable[Replica]) -> Sequence[Replica]:
    """What has not ended was just read."""
    now = {replica.id: replica for replica in live}
    return [now.get(each.id, each) for each in found]
