"""Launch and terminate: the two side effects on a cloud."""

from __future__ import annotations

from control_plane.store.repositories import instances
from control_plane.store.repositories.operations import OperationState
from control_plane.store.tables import Instance
from control_plane.tasks.claim import Claim
from control_plane.tasks.secret import control_plane_secret, join_token
from infra.cloud.base import Cloud, LaunchRequest, Market
from infra.keys import hash_secret
from infra.settings import Settings


async def launch_instance(claim: Claim, cloud: Cloud, settings: Settings) -> None:
    """Launch the instance that the operation names, unless nobody waits for it any more.

    Raises:
        CloudError: the cloud refused or could not be reached.
    """
    instance_id = claim.operation.subject_id
    token = join_token(control_plane_secret(settings), instance_id)
    async with claim.database.transaction() as session:
        instance = await session.get_one(Instance, instance_id)
        wanted = await instances.expect_join(
            session, instance_id, hash_secret(token), settings.join_token_s
        )
    if not wanted:  # joined already, or given up in the meantime
        async with claim.outcome(OperationState.SUCCEEDED):
            return
    launched = await cloud.launch(
        LaunchRequest(
            instance_id=instance_id,
            instance_type=instance.instance_type,
            zone=instance.zone,
            market=Market(instance.market),
            user_data={"TAMER_JOIN_URL": settings.api_url, "TAMER_JOIN_TOKEN": token},
        )
    )
    async with claim.outcome(OperationState.SUCCEEDED) as session:
        await instances.set_cloud_id(session, instance_id, launched.cloud_id)


async def terminate_instance(claim: Claim, cloud: Cloud) -> None:
    """Raises CloudError: the cloud refused or could not be reached."""
    await cloud.terminate(claim.operation.subject_id)
    async with claim.outcome(OperationState.SUCCEEDED):
        return
