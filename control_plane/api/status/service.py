from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.status.schemas import DeploymentStatus, Standbys, Status
from control_plane.store.repositories import counts, deployments, instances
from control_plane.store.repositories.listings import Deployed
from infra.connection import REDIS_AWAY, RedisClient
from infra.registry import Registry
from infra.states import DeploymentState, ReplicaState
from infra.wire import Heartbeat

_HEAR_LIMIT_S = 2.0


async def summarise(session: AsyncSession, jobs: RedisClient) -> Status:
    replicas = await counts.replicas(session)
    heartbeats = await _heard(session, jobs)
    return Status(
        deployments=[
            _status(each, replicas.get(each.deployment.id, {}))
            for each in await deployments.all_live(session)
        ],
        instances=await counts.instances(session),
        models=await counts.models(session),
        standbys=None if heartbeats is None else _standbys(heartbeats),
        sleeping_memory_bytes=sum(
            report.memory_bytes
            for heartbeat in heartbeats or ()
            for report in heartbeat.replicas
            if report.state is ReplicaState.SLEEPING
        ),
    )


async def _heard(session: AsyncSession, jobs: RedisClient) -> list[Heartbeat] | None:
    ids = [each.id for each in await instances.live(session)]
    try:
        async with asyncio.timeout(_HEAR_LIMIT_S):
            return list((await Registry(jobs).heartbeats(ids)).values())
    except REDIS_AWAY:
        return None


def _standbys(heartbeats: Sequence[Heartbeat]) -> Standbys:
    return Standbys(
        count=sum(each.standbys for each in heartbeats),
        memory_bytes=sum(each.standby_bytes for each in heartbeats),
    )


def _status(deployed: Deployed, replicas: dict[str, int]) -> DeploymentStatus:
    deployment, revision = deployed
    scaling = deployment.spec["scaling"]
    return DeploymentStatus(
        name=deployment.name,
        model=deployment.spec["model"],
        state=DeploymentState(deployment.state),
        reason=deployment.reason,
        engine=revision.engine,
        generation=deployment.generation,
        target_replicas=deployment.target_replicas,
        min_replicas=scaling["min_replicas"],
        max_replicas=scaling["max_replicas"],
        replicas=replicas,
    )
