"""An epoch key tells a Redis that came back empty from one that was away for a moment."""

from __future__ import annotations

import secrets
from typing import Any

from infra.connection import RedisClient

_KEY = "tamer:epoch"


class Epoch:
    """One process's view: the epoch at its first look is the one it lives in."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs
        self._known: bytes | None = None

    async def changed(self) -> bool:
        """Whether the data was lost since the last look; said once for each loss."""
        fresh = secrets.token_hex(8).encode()
        found: Any = await self._jobs.set(_KEY, fresh, nx=True, get=True)
        epoch = fresh if found is None else found
        before, self._known = self._known, epoch
        return before is not None and before != epoch
