from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.deployments.device import require_device
from control_plane.api.deployments.offers import placement_notes, require_offer
from control_plane.api.deployments.revision import wanted_revision
from control_plane.api.deployments.rollout import change_revision
from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.api.problem import Problem, not_found
from control_plane.api.transaction import Change
from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.leases import break_lease
from control_plane.store.repositories import budgets, deployments
from control_plane.store.repositories.listings import Deployed
from control_plane.store.tables import Deployment, Revision
from infra.names import JOINED_CLOUD, LOCAL_CLOUD
from infra.settings import Settings
from infra.states import DeploymentState, advance


@dataclass(frozen=True, slots=True)
class Outcome:
    deployed: Deployed
    changed: bool
    created: bool
    notes: list[str]


async def find(session: AsyncSession, name: str) -> Deployed:
    """Raises Problem 404."""
    found = await deployments.find(session, name)
    if found is None:
        raise _unknown(name)
    return found


async def locked(change: Change, name: str) -> Deployed:
    """Nobody else changes it until the end of the transaction. Raises Problem 404."""
    found = await deployments.lock(change.session, name)
    if found is None:
        raise _unknown(name)
    return found


async def create(change: Change, spec: DeploymentSpec) -> Outcome:
    """Raises Problem: 409 where the name lives, and what `wanted_revision` raises."""
    existing = await deployments.lock(change.session, spec.name)
    if existing is not None:
        raise Problem(409, "name-taken", _taken(existing.deployment))
    return await _create(change, spec)


async def apply(change: Change, spec: DeploymentSpec, again: bool = False) -> Outcome:
    """Create or replace; the same spec again changes nothing.

    Args:
        again: try a revision that was rolled back.
    """
    existing = await deployments.lock(change.session, spec.name)
    if existing is None:
        return await _create(change, spec)
    deployment = existing.deployment
    if deployment.state == DeploymentState.DELETING:
        raise Problem(409, "name-taken", _taken(deployment))
    notes = _notes(spec, change.settings, deployment.target_replicas)
    await require_device(change.session, spec, change.settings)
    await require_offer(change.session, spec, change.settings)
    now = await read_clock(change.session)
    revision = await wanted_revision(change.session, deployment.id, spec, now)
    written = spec.model_dump(mode="json")
    if written == deployment.spec and revision.id == deployment.revision_id:
        return Outcome(existing, changed=False, created=False, notes=notes)
    await change_revision(change.session, deployment, written, revision.id, now, again)
    deployment.generation += 1
    deployment.updated_at = now
    break_lease(deployment)
    await _record(change, "deployment.update", deployment, revision)
    return Outcome(Deployed(deployment, revision), changed=True, created=False, notes=notes)


async def delete(change: Change, name: str) -> Deployed:
    """Ask the controller to end it; asking twice is asking once."""
    existing = await locked(change, name)
    deployment, revision = existing
    state = DeploymentState(deployment.state)
    if state is not DeploymentState.DELETING:
        deployment.state = advance(state, DeploymentState.DELETING).value
        deployment.reason = "deleted by its user"
        deployment.updated_at = await read_clock(change.session)
        break_lease(deployment)
        await _record(change, "deployment.delete", deployment, revision)
        change.tell_gateways()
    return existing


async def _create(change: Change, spec: DeploymentSpec) -> Outcome:
    notes = _notes(spec, change.settings, target=0)
    await require_device(change.session, spec, change.settings)
    await require_offer(change.session, spec, change.settings)
    now = await read_clock(change.session)
    deployment_id = new_id(Prefix.DEPLOYMENT)
    revision = await wanted_revision(change.session, deployment_id, spec, now)
    written = spec.model_dump(mode="json")
    former = await deployments.newest_named(change.session, spec.name)
    deployment = await deployments.add(
        change.session, deployment_id, spec.name, written, revision, now
    )
    if former is not None:
        await budgets.inherit(change.session, former.id, deployment_id)
    await _record(change, "deployment.create", deployment, revision)
    change.tell_gateways()
    return Outcome(Deployed(deployment, revision), changed=True, created=True, notes=notes)


async def _record(change: Change, action: str, deployment: Deployment, revision: Revision) -> None:
    await change.record(
        action,
        deployment.id,
        name=deployment.name,
        generation=deployment.generation,
        revision_id=revision.id,
    )


def _notes(spec: DeploymentSpec, settings: Settings, target: int) -> list[str]:
    if spec.scaling.mode != "advise" or target:
        return _limit_notes(spec, settings)
    message = (
        "scaling.mode: advise starts nothing, and at zero requests wait in vain: say act, or order "
        f"replicas ('tamer scale {spec.name} 1 --for 2h')"
    )
    return [message, *_limit_notes(spec, settings)]


def _limit_notes(spec: DeploymentSpec, settings: Settings) -> list[str]:
    """Limits on money are true by themselves where machines cost nothing."""
    if settings.cloud not in (LOCAL_CLOUD, JOINED_CLOUD):
        return placement_notes(spec, settings)
    limits = {
        "budget.usd_per_day": spec.budget.usd_per_day,
        "budget.usd_per_month": spec.budget.usd_per_month,
        "placement.max_usd_per_hour": spec.placement.max_usd_per_hour,
    }
    said = f"machines of the {settings.cloud} cloud cost nothing, so it holds"
    stated = [f"{field}: {said}" for field, limit in limits.items() if limit is not None]
    return [*stated, *placement_notes(spec, settings)]


def _unknown(name: str) -> Problem:
    return not_found("deployment", name, "tamer status")


def _taken(deployment: Deployment) -> str:
    if deployment.state == DeploymentState.DELETING:
        return f"deployment '{deployment.name}' is being deleted; try again when it is gone"
    return f"deployment '{deployment.name}' exists; PUT (tamer deploy) changes it"
