"""What requests came to, per revision, for the controller's judgement of a rollout.

Counted once a request and sent once a second, whatever the load.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from infra import outcomes
from infra.connection import REDIS_AWAY, RedisClient
from infra.states import JobState
from infra.telemetry import logger
from infra.wire import Route

_EVERY_S = 1.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Times:
    """Of one request that ended; None where it had no such time."""

    first_token_s: float | None
    per_token_s: float | None


class Outcomes:
    """One process's counts since they were last sent."""

    def __init__(self) -> None:
        self._news: dict[str, Counter[str]] = {}
        self._limits: dict[str, Route] = {}

    def know(self, routes: Iterable[Route]) -> None:
        """The limits that requests are held against from now on."""
        self._limits = {route.name: route for route in routes}

    def add(self, deployment: str, revision_id: str, outcome: str, times: Times) -> None:
        if outcome == JobState.CANCELLED:
            return
        counts = self._news.setdefault(revision_id, Counter())
        counts["requests"] += 1
        counts["errors"] += outcome != JobState.COMPLETED
        route = self._limits.get(deployment)
        if route is None or outcome != JobState.COMPLETED:
            return
        limited = (
            ("ttft", route.ttft_limit_s, times.first_token_s),
            ("tpot", route.tpot_limit_s, times.per_token_s),
        )
        for name, limit_s, spent_s in limited:
            if limit_s and spent_s is not None:
                counts[name] += 1
                counts[f"{name}_missed"] += spent_s > limit_s

    async def send(self, jobs: RedisClient) -> None:
        """Raises RedisError: what was to be sent is lost."""
        news, self._news = self._news, {}
        await outcomes.publish(jobs, news)

    async def send_for_ever(self, jobs: RedisClient) -> None:
        away = False
        while True:
            try:
                await self.send(jobs)
            except REDIS_AWAY as error:
                if not away:
                    _log.warning("outcomes cannot be told", error=str(error))
                away = True
            else:
                away = False
            await asyncio.sleep(_EVERY_S)


OUTCOMES = Outcomes()
"""Of this process, as its metrics are."""
