"""Launch and terminate: the two side effects on a cloud."""

from __future__ import annotations

from control_plane.controller.instance_step import Cause, InstanceStep
from control_plane.controller.launch_record import record_launch
from control_plane.controller.pool_lessons import learn_launch, learn_quota
from control_plane.controller.provisioning import explain_step
from control_plane.store.clock import read_clock
from control_plane.store.repositories import instances
from control_plane.store.repositories.operations import OperationState
from control_plane.store.tables import Instance
from control_plane.tasks.claim import Claim
from control_plane.tasks.secret import control_plane_secret, join_token
from infra.cloud.base import Cloud, CloudPool, LaunchRequest, Market
from infra.cloud.refusals import InsufficientCapacity, QuotaReached, Refusal
from infra.keys import hash_secret
from infra.settings import Settings
from infra.states import InstanceState
from infra.telemetry import logger

_log = logger(__name__)


async def launch_instance(claim: Claim, cloud: Cloud, settings: Settings) -> None:
    """Launch the instance that the operation names, unless nobody waits for it any more.

    That the cloud has no machine to give ends the operation and teaches placement; what would pass
    and has not in all the tries of a launch ends it without a lesson. Who waits for the instance is
    placed anew.

    Raises:
        CloudError: the cloud refused otherwise or could not be reached.
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
    request = LaunchRequest(
        instance_id=instance_id,
        instance_type=instance.instance_type,
        zone=instance.zone,
        market=Market(instance.market),
        user_data={"TAMER_JOIN_URL": settings.api_url, "TAMER_JOIN_TOKEN": token},
        alternatives=_alternatives(instance),
    )
    try:
        launched = await cloud.launch(request)
    except Refusal as refusal:
        if not (refusal.is_spent or isinstance(refusal, InsufficientCapacity | QuotaReached)):
            raise
        await _refused(claim, instance, request, refusal)
        return
    async with claim.outcome(OperationState.SUCCEEDED) as session:
        await record_launch(session, instance, launched)
        if launched.pool is not None:
            await learn_launch(session, instance.cloud, [launched.pool], succeeded=True)


async def terminate_instance(claim: Claim, cloud: Cloud) -> None:
    """Raises CloudError: the cloud refused or could not be reached."""
    await cloud.terminate(claim.operation.subject_id)
    async with claim.outcome(OperationState.SUCCEEDED):
        return


async def _refused(
    claim: Claim, instance: Instance, request: LaunchRequest, refusal: Refusal
) -> None:
    own = CloudPool(request.instance_type, request.zone, request.market)
    asked = refusal.pools or (own, *request.alternatives)
    async with claim.outcome(OperationState.FAILED, str(refusal)) as session:
        await instances.refuse(session, instance.id, str(refusal))
        step = InstanceStep(InstanceState.DRAINING, str(refusal), Cause.LAUNCH_REFUSED)
        await explain_step(session, instance, step, await read_clock(session))
        if isinstance(refusal, QuotaReached):
            await learn_quota(session, instance.cloud, asked)
        elif isinstance(refusal, InsufficientCapacity):
            await learn_launch(session, instance.cloud, asked, succeeded=False)
    _log.info("no machine to be had", instance_id=instance.id, reason=str(refusal))


def _alternatives(instance: Instance) -> tuple[CloudPool, ...]:
    market = Market(instance.market)
    return tuple(
        CloudPool(each["instance_type"], each["zone"], market) for each in instance.alternatives
    )
