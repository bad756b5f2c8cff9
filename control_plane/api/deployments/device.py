"""Whether there is, or can be, a machine with the device that a deployment asks for."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.api.problem import invalid_field
from control_plane.store.repositories import instances
from infra.gpus import gpu_count
from infra.names import LOCAL_CLOUD
from infra.settings import Settings


async def require_device(session: AsyncSession, spec: DeploymentSpec, settings: Settings) -> None:
    """Where instances are processes of this machine, it has to have a GPU, or one that has joined.

    Raises:
        Problem: 422, a GPU is asked for and none is there.
    """
    if spec.engine.options.get("device") != "cuda" or settings.cloud != LOCAL_CLOUD:
        return
    joined = [
        device
        for each in await instances.live(session)
        for device in each.capabilities.get("devices", ())
    ]
    if gpu_count() == 0 and not any(each.startswith("cuda") for each in joined):
        message = (
            "device is 'cuda', and neither this machine nor one that has "
            "joined has a GPU; leave it out, or let one join first ('tamer worker token')"
        )
        raise invalid_field("engine.options", message)
