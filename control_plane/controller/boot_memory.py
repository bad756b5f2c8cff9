"""Remembers the last starts of each revision: they change with a start, and every pass asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.boot_times import SAMPLES
from control_plane.store.repositories import starts
from control_plane.store.repositories.starts import BootSample

_AGAIN_S = 30.0
"""What a start's line says may still change a little once its replica is ready."""


@dataclass(frozen=True, slots=True)
class _Known:
    last_ready_at: float
    read_at: float
    """Database time."""
    samples: Sequence[BootSample]


class BootMemory:
    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    async def of(
        self, session: AsyncSession, revision_ids: Collection[str], now: float
    ) -> Mapping[str, Sequence[BootSample]]:
        """The newest first, of each revision; the others are forgotten.

        Args:
            now: database time.
        """
        last = await starts.last_ready(session, revision_ids)
        for revision_id in revision_ids:
            ready_at = last.get(revision_id)
            if ready_at is None:
                self._known.pop(revision_id, None)
            elif self._is_old(revision_id, ready_at, now):
                samples = await starts.boot_samples(session, revision_id, SAMPLES)
                self._known[revision_id] = _Known(ready_at, now, samples)
        return {
            revision_id: known.samples
            for revision_id in revision_ids
            if (known := self._known.get(revision_id)) is not None
        }

    def keep_only(self, revision_ids: Collection[str]) -> None:
        """Forget revisions that nobody wants any more."""
        self._known = {key: each for key, each in self._known.items() if key in revision_ids}

    def _is_old(self, revision_id: str, last_ready_at: float, now: float) -> bool:
        known = self._known.get(revision_id)
        if known is None or known.last_ready_at != last_ready_at:
            return True
        return known.read_at <= last_ready_at + _AGAIN_S < now
