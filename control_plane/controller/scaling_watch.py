"""What the autoscaler is told of each deployment: its queues, its replicas, what one of these
serves, and what was needed a moment ago. One process's memory; it begins anew with the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from control_plane.autoscaler.decision import Decision
from control_plane.autoscaler.observation import Demand, ReplicaCapacity
from control_plane.autoscaler.policy import ScalingPolicy
from control_plane.controller.capacity_book import CapacityBook
from control_plane.controller.demand import DemandWatch
from control_plane.controller.deployment_rows import DeploymentRows
from control_plane.controller.kept import Kept
from control_plane.controller.world import World
from control_plane.store.tables import Instance
from infra.connection import RedisClient
from infra.performance.capacity import RequestMix
from infra.queue.queue import Signals
from infra.states import ReplicaState
from infra.wire import ReplicaReport


@dataclass(frozen=True, slots=True)
class Told:
    demand: Demand | None
    serving: int
    """Replicas that are ready and speak."""
    capacity: ReplicaCapacity | None
    uncounted: str
    """Why no capacity is known although there is an SLO."""
    kept: int


class ScalingWatch:
    def __init__(
        self, jobs: RedisClient, cloud: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.queues = DemandWatch(jobs, clock)
        self._book = CapacityBook(cloud, clock)
        self._kept = Kept()
        self._clock = clock

    async def look(
        self,
        found: Collection[DeploymentRows],
        world: World | None,
        instances: Mapping[str, Instance],
    ) -> dict[str, Signals]:
        """Hear replicas and queues, and forget deployments that are gone. The signals of each queue
        that answers now."""
        ids = {each.deployment.id for each in found}
        self.queues.keep_only(ids)
        self._kept.keep_only(ids)
        if world is not None:
            self._book.learn(world.heartbeats, found, instances)
        return await self.queues.signals({id for each in found for id in each.revision_ids})

    def told(
        self,
        rows: DeploymentRows,
        policy: ScalingPolicy,
        reports: Mapping[str, ReplicaReport],
        instances: Mapping[str, Instance],
    ) -> Told:
        deployment = rows.deployment
        speak = [reports[id] for id in rows.live_ids if id in reports]
        cached = _cached_share(speak)
        demand = self.queues.demand(deployment.id, rows.revision_ids, cached, rows.boot.p90_s)
        sizes = self.queues.sizes(deployment.id)
        mix = RequestMix(
            prompt_tokens=sizes.prompt_tokens * (1 - cached),
            output_tokens=sizes.output_tokens,
            cached_tokens=sizes.prompt_tokens * cached,
        )
        capacity, uncounted = self._book.capacity(rows, instances, mix, _kv_tokens(speak))
        return Told(
            demand=demand,
            serving=sum(
                each.id in reports and each.state == ReplicaState.READY for each in rows.live
            ),
            capacity=capacity,
            uncounted=uncounted,
            kept=self._kept.of(
                deployment.id, policy.calm_s, deployment.target_replicas, self._clock()
            ),
        )

    def decided(self, deployment_id: str, policy: ScalingPolicy, decision: Decision) -> None:
        self._kept.see(deployment_id, policy.calm_s, decision.keeps, self._clock())

    def written(self, deployment_id: str, decision: Decision) -> None:
        """The decision stands, by this process."""
        self._kept.moved(deployment_id, decision.target)


def _cached_share(reports: Iterable[ReplicaReport]) -> float:
    """Of the prompts that these have read, what their prefix caches held; never all of it."""
    queried = hit = 0
    for each in reports:
        queried += each.prefix_queried_tokens
        hit += each.prefix_hit_tokens
    return min(0.95, hit / queried) if queried else 0.0


def _kv_tokens(reports: Iterable[ReplicaReport]) -> int:
    """Of the smallest cache; 0: nobody says."""
    return min((each.kv_tokens_total for each in reports if each.kv_tokens_total), default=0)
