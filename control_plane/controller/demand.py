"""What waits, runs and arrives in the queues of deployments, as one controller hears it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

from control_plane.autoscaler.arrivals import WINDOW_S, Arrivals, Counts, Sizes
from control_plane.autoscaler.forecast.foresight import Foresight
from control_plane.autoscaler.observation import Demand, Load, Tokens
from infra.connection import RedisClient
from infra.queue.queue import JobQueue, Signals, survey
from infra.telemetry import logger

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Heard:
    signals: Signals
    at_s: float
    """By this process's clock."""


class _Watched:
    """One deployment."""

    def __init__(self, deployment_id: str) -> None:
        digest = hashlib.sha256(deployment_id.encode()).digest()
        self.arrivals = Arrivals(phase_s=int.from_bytes(digest[:2], "big") % WINDOW_S)
        self.foresight = Foresight()
        self.totals: dict[str, Counts] = {}
        self.at_s = float("-inf")
        self._busy_s = float("-inf")

    def idle_s(self, told_s: float, at_s: float) -> float:
        """Since it was last known to be busy: a queue that lost its memory tells that it was never
        used."""
        self._busy_s = max(self._busy_s, at_s - told_s)
        return at_s - self._busy_s

    def see(self, heard: Mapping[str, _Heard], at_s: float) -> None:
        """A queue that is new to us has grown by nothing yet."""
        if at_s <= self.at_s:
            return
        totals = {id: _counts(each.signals) for id, each in heard.items()}
        grown = ever = Counts()
        for revision_id, total in totals.items():
            grown = grown.plus(total.since(self.totals.get(revision_id, total)))
            ever = ever.plus(total)
        self.arrivals.see(grown, ever, at_s)
        self.totals = totals
        self.at_s = at_s

    def load(self, heard: Mapping[str, _Heard], cached: float, horizon_s: float) -> Load | None:
        waiting = sum(each.signals.queued for each in heard.values())
        tokens = sum(each.signals.queued_prompt_tokens for each in heard.values())
        load = self.arrivals.load(waiting, tokens, cached)
        prefill, decode = self.arrivals.history()
        said = self.foresight.look(prefill, decode, self.arrivals.closed, horizon_s)
        if load is None or said is None:
            return load
        foreseen = Tokens(said.prefill * (1 - cached), said.decode)
        return replace(load, foreseen=foreseen, forecaster=said.forecaster)


class DemandWatch:
    """One process's memory of demand: histories begin when it starts."""

    def __init__(self, jobs: RedisClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._asked_s = float("-inf")
        self._watched: dict[str, _Watched] = {}

    async def signals(self, revision_ids: Collection[str]) -> dict[str, Signals]:
        """What each queue says, after what is overdue in it has ended; one that cannot be asked is
        missing."""
        found: dict[str, Signals] = {}
        for part in self._reached_together(revision_ids):
            try:
                found |= await survey(self._jobs, part)
            except RedisError as error:
                log.warning("queues cannot be asked", queues=len(part), error=str(error))
        self._asked_s = now_s = self._clock()
        known = {id: each for id, each in self._heard.items() if id in revision_ids}
        self._heard = known | {id: _Heard(each, now_s) for id, each in found.items()}
        return found

    def _reached_together(self, revision_ids: Collection[str]) -> Sequence[Sequence[str]]:
        """A shard of a cluster that is away keeps nobody from asking the others."""
        if isinstance(self._jobs, RedisCluster):
            return [[each] for each in revision_ids]
        return [list(revision_ids)]

    async def abandon(self, revision_id: str, reason: str) -> None:
        """End what still waits in a queue that nobody will serve again.

        Raises RedisError: it is tried again.
        """
        ended = await JobQueue(self._jobs, revision_id).abandon(reason)
        log.warning("queue abandoned", revision_id=revision_id, jobs=ended, reason=reason)

    def demand(
        self, deployment_id: str, revision_ids: Collection[str], cached: float, horizon_s: float
    ) -> Demand | None:
        """The sum over the deployment's queues, as they were last heard; None where one of them
        never was.

        Args:
            cached: the share of prompts that prefix caches hold.
            horizon_s: how far it is foreseen.
        """
        heard = {id: self._heard[id] for id in revision_ids if id in self._heard}
        if len(heard) < len(revision_ids):
            return None
        watched = self._watched.get(deployment_id)
        if watched is None:
            watched = self._watched[deployment_id] = _Watched(deployment_id)
        heard_s = min(each.at_s for each in heard.values())
        watched.see(heard, heard_s)
        return Demand(
            pending_jobs=sum(each.signals.pending for each in heard.values()),
            idle_s=watched.idle_s(min(each.signals.idle_s for each in heard.values()), heard_s),
            age_s=self._clock() - heard_s,
            load=watched.load(heard, cached, horizon_s),
            heard=heard_s >= self._asked_s,
        )

    def sizes(self, deployment_id: str) -> Sizes:
        """Means over its jobs."""
        watched = self._watched.get(deployment_id)
        return Sizes() if watched is None else watched.arrivals.sizes

    def keep_only(self, deployment_ids: Collection[str]) -> None:
        """Forget deployments that are gone."""
        self._watched = {key: each for key, each in self._watched.items() if key in deployment_ids}


def _counts(signals: Signals) -> Counts:
    totals = signals.totals
    return Counts(
        totals.accepted_jobs,
        totals.accepted_prompt_tokens,
        totals.ended_jobs,
        totals.ended_output_tokens,
    )
