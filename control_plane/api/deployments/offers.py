"""Whether anything that a cloud sells could ever carry what a spec asks for, by what is known
before a price is asked: what exists, what fits, and the least that it can cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.deployments.fits import fitting
from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.api.problem import invalid_field
from control_plane.api.strict import nearest
from control_plane.store.repositories import models
from infra.instance_types import InstanceType, aws_instance_types
from infra.names import AWS_CLOUD
from infra.settings import Settings, zone_pairs

_LEAST_SPOT_SHARE = 0.1
"""AWS: spot machines are up to 90 % cheaper."""


async def require_offer(session: AsyncSession, spec: DeploymentSpec, settings: Settings) -> None:
    """Where the cloud sells different machines, one has to be allowed, large enough and cheap
    enough.

    Raises:
        Problem: 422, with the numbers.
    """
    if settings.cloud != AWS_CLOUD:
        return
    _require_places(spec, settings)
    found = await fitting_types(session, spec, settings)
    if found:
        _require_price(spec, found)


async def fitting_types(
    session: AsyncSession, spec: DeploymentSpec, settings: Settings
) -> Sequence[InstanceType]:
    """What AWS sells, is allowed, holds the model and meets its SLO, the cheapest for a replica
    first; empty where there is no such model, which is refused with its own words.

    Raises:
        Problem: 422, nothing does; with the numbers.
    """
    allowed = _allowed(spec, aws_instance_types(settings.aws_region).values())
    model = await models.find(session, spec.model)
    if model is None:
        return ()
    return sorted(fitting(allowed, spec, model), key=_slot_usd)


def placement_notes(spec: DeploymentSpec, settings: Settings) -> list[str]:
    """What has no effect where machines are of one kind."""
    if settings.cloud == AWS_CLOUD:
        return []
    stated = spec.placement.model_fields_set - {"max_usd_per_hour"}
    said = f"the cloud '{settings.cloud}' has machines of one kind, so there is nothing to choose"
    return [f"placement.{field}: {said}" for field in sorted(stated)]


def _require_places(spec: DeploymentSpec, settings: Settings) -> None:
    region, placement = settings.aws_region, spec.placement
    if region and placement.regions and region not in placement.regions:
        message = f"this control plane launches in {region} (TAMER_AWS_REGION): allow it"
        raise invalid_field("placement.regions", message)
    zones = zone_pairs(settings.aws_subnets)
    if zones and placement.zones and not set(zones) & set(placement.zones):
        message = f"there are subnets in {', '.join(sorted(zones))} only (TAMER_AWS_SUBNETS)"
        raise invalid_field("placement.zones", message)


def _allowed(spec: DeploymentSpec, sold: Iterable[InstanceType]) -> Sequence[InstanceType]:
    placement, sold = spec.placement, list(sold)
    names = [each.name for each in sold]
    for index, name in enumerate(placement.instance_types):
        if name not in names:
            message = f"no such type with an accelerator is known; {nearest(name, names)}"
            raise invalid_field(f"placement.instance_types.{index}", message)
    found = [
        each
        for each in sold
        if (not placement.instance_types or each.name in placement.instance_types)
        and (not placement.accelerators or each.accelerator in placement.accelerators)
    ]
    if not found:
        told = ", ".join(sorted({each.accelerator for each in sold}))
        message = f"no allowed instance type has one of these; the cloud sells {told}"
        raise invalid_field("placement.accelerators", message)
    return found


def _require_price(spec: DeploymentSpec, found: Sequence[InstanceType]) -> None:
    """A limit has to allow one replica, and a budget an hour of it."""
    cheapest = min(found, key=_slot_usd)
    spot = spec.placement.spot != "never"
    least = _slot_usd(cheapest) * (_LEAST_SPOT_SHARE if spot else 1.0)
    market = "spot, at the largest discount there is" if spot else "on demand"
    where = f"on {cheapest.name} ({cheapest.accelerator}), {market}; raise it"
    limit = spec.placement.max_usd_per_hour
    if limit is not None and limit < least:
        message = f"${limit:g} an hour is less than one replica can cost: ${least:.4g} {where}"
        raise invalid_field("placement.max_usd_per_hour", message)
    for field, budget in spec.budget:
        if budget is not None and budget < least:
            message = f"${budget:g} is less than one replica costs in an hour: ${least:.4g} {where}"
            raise invalid_field(f"budget.{field}", message)


def _slot_usd(kind: InstanceType) -> float:
    return kind.usd_per_hour / kind.devices
