"""Earlier deployments of the same name: who is deleted and made again has spent what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.repositories import deployments
from control_plane.store.tables import Deployment


class Namesakes:
    """Who came before a deployment never changes: it is asked once."""

    def __init__(self) -> None:
        self._former: dict[str, Sequence[str]] = {}

    async def of(
        self, session: AsyncSession, live: Mapping[str, Deployment]
    ) -> Mapping[str, Sequence[str]]:
        """The ids of those before each of these, by its id."""
        new = {id: each.name for id, each in live.items() if id not in self._former}
        named = await deployments.ids_named(session, set(new.values()))
        found = {id: [other for other in named[name] if other != id] for id, name in new.items()}
        known = {id: former for id, former in self._former.items() if id in live}
        self._former = {**known, **found}
        return self._former
