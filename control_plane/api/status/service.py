from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.status.schemas import DeploymentStatus, Status
from control_plane.store.repositories import counts, deployments
from control_plane.store.repositories.listings import Deployed
from infra.states import DeploymentState


async def summarise(session: AsyncSession) -> Status:
    replicas = await counts.replicas(session)
    return Status(
        deployments=[
            _status(each, replicas.get(each.deployment.id, {}))
            for each in await deployments.all_live(session)
        ],
        instances=await counts.instances(session),
        models=await counts.models(session),
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
