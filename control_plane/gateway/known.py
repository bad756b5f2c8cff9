"""What this gateway knows: the newest projection, and how long ago it was last confirmed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from control_plane.gateway.errors import unavailable
from control_plane.gateway.metrics import forget
from control_plane.gateway.outcomes import OUTCOMES
from infra.connection import REDIS_AWAY
from infra.projection import ProjectionReader
from infra.telemetry import logger
from infra.wire import KeyEntry, Malformed, Projection, Route

_log = logger(__name__)
_WAIT_S = 5.0
_RETRY_S = 0.5


class Known:
    """The controller confirms the projection about once a second, by publishing it again; one that
    was not confirmed for `max_age_s` may be wrong about revoked keys, so nothing is served from it.

    Age is measured by this process's own monotonic clock.
    """

    def __init__(
        self, reader: ProjectionReader, max_age_s: float, monotonic_s: Callable[[], float]
    ) -> None:
        self._reader = reader
        self._max_age_s = max_age_s
        self._monotonic_s = monotonic_s
        self._heard_at_s: float | None = None
        self._routes: dict[str, Route] = {}
        self._keys: dict[str, KeyEntry] = {}

    async def follow(self) -> None:
        """Take each new projection, for ever."""
        while True:
            try:
                projection = await self._reader.next(_WAIT_S)
            except (*REDIS_AWAY, Malformed) as error:
                _log.warning("projection cannot be read", error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            if projection is not None:
                self.hear(projection)

    def hear(self, projection: Projection) -> None:
        gone = self._routes.keys() - {route.name for route in projection.routes}
        for name in gone:
            forget(name)
        self._routes = {route.name: route for route in projection.routes}
        OUTCOMES.know(projection.routes)
        self._keys = {key.hash: key for key in projection.keys}
        self._heard_at_s = self._monotonic_s()

    @property
    def age_s(self) -> float:
        """Since the projection was last confirmed; infinite before the first."""
        heard_at_s = self._heard_at_s
        return math.inf if heard_at_s is None else self._monotonic_s() - heard_at_s

    def check_fresh(self) -> None:
        """Raises ApiError 503 where nothing was heard, or nothing for too long."""
        if self._heard_at_s is None:
            raise unavailable("The gateway has not heard from its controller yet.", "not_ready", 2)
        age_s = self.age_s
        if age_s > self._max_age_s:
            raise unavailable(
                f"The gateway has not heard from its controller for {age_s:.0f} s; it refuses "
                "requests until it does.",
                "projection_too_old",
                5,
            )

    def key(self, secret_hash: str) -> KeyEntry | None:
        return self._keys.get(secret_hash)

    def route(self, name: str) -> Route | None:
        return self._routes.get(name)

    def routes(self) -> list[Route]:
        return sorted(self._routes.values(), key=lambda route: route.name)
