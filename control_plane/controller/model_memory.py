"""Remembers what is known of the models of revisions: neither ever changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.repositories import models
from control_plane.store.tables import Revision
from infra.performance.serving import Serving


class ModelMemory:
    def __init__(self) -> None:
        self._known: dict[str, Serving | None] = {}

    async def of(
        self, session: AsyncSession, revisions: Collection[Revision]
    ) -> Mapping[str, Serving | None]:
        """By revision; None where the size of its model is not known."""
        new = [each for each in revisions if each.id not in self._known]
        if new:
            rows = await models.by_id(session, {each.model_id for each in new})
            for each in new:
                model = rows[each.model_id]
                self._known[each.id] = Serving.of(model.facts, model.quantization, each.options)
        return self._known

    def keep_only(self, revision_ids: Collection[str]) -> None:
        """Forget revisions that nobody wants any more."""
        self._known = {key: each for key, each in self._known.items() if key in revision_ids}
