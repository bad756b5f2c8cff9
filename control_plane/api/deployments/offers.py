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
    require_places(spec, settings)
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


def require_places(spec: DeploymentSpec, settings: Settings) -> None:
    """What is allowed has to lie where this control plane launches. Raises Problem 422."""
    region, placement = settings.aws_region, spec.placement
    if region and placement.regions and region not in placement.regions:
        message = f"this control plane launches in {region} (TAMER_AWS_REGION): allow it"
        raise invalid_field("placement.regions", message)
    _require_zones(region, spec)
    zones = zone_pairs(settings.aws_subnets)
    if zones and placement.zones and not set(zones) & set(placement.zones):
        message = f"there are subnets in {', '.join(sorted(zones))} only (TAMER_AWS_SUBNETS)"
        raise invalid_field("placement.zones", message)


def _require_zones(region: str, spec: DeploymentSpec) -> None:
    """One has to lie in the region of this control plane, where that is set, and in one that the
    spec allows."""
    regions, zones = spec.placement.regions, spec.placement.zones
    allowed = [region] if region else regions
    if not zones or not allowed or any(_is_in(zone, each) for zone in zones for each in allowed):
        return
    where = (
        f"this control plane launches in {region} (TAMER_AWS_REGION)"
        if region
        else f"placement.regions allows {', '.join(regions)}"
    )
    message = f"no zone of these is there: {where}; its zones are called like {allowed[0]}a"
    raise invalid_field("placement.zones", message)


def _is_in(zone: str, region: str) -> bool:
    """us-east-1a and the local us-east-1-bos-1a are in us-east-1."""
    return zone.startswith(region) and not zone[len(region) :][:1].isdigit()


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
    """A limit has to allow one replica and as many as are always wanted, a budget an hour of
    them."""
    cheapest = min(found, key=_slot_usd)
    spot = spec.placement.spot != "never"
    least = _slot_usd(cheapest) * (_LEAST_SPOT_SHARE if spot else 1.0)
    market = "spot, at the largest discount there is" if spot else "on demand"
    where = f"on {cheapest.name} ({cheapest.accelerator}), {market}; raise it"
    limit, (floor, said) = spec.placement.max_usd_per_hour, _floor(spec)
    if limit is not None and limit < floor * least:
        message = f"${limit:g} an hour is less than {_cost(floor, said, least)} {where}"
        raise invalid_field("placement.max_usd_per_hour", message)
    always = max(1, spec.scaling.min_replicas)
    for field, budget in spec.budget:
        if budget is not None and budget < always * least:
            cost = _cost(always, "min_replicas", least)
            message = f"${budget:g} is less than an hour of what {cost} {where}"
            raise invalid_field(f"budget.{field}", message)


def _floor(spec: DeploymentSpec) -> tuple[int, str]:
    """The most replicas that are wanted whatever the demand, at least one, and the field of
    `scaling` that says so."""
    scheduled = (
        (each.min_replicas, f"schedule.{index}.min_replicas")
        for index, each in enumerate(spec.scaling.schedule)
    )
    always = (max(1, spec.scaling.min_replicas), "min_replicas")
    return max([always, *scheduled], key=lambda each: each[0])


def _cost(replicas: int, field: str, usd_per_hour: float) -> str:
    """E.g. "4 replicas (scaling.min_replicas) can cost: 4 x $0.05 = $0.2"."""
    if replicas == 1:
        return f"one replica can cost: ${usd_per_hour:.4g}"
    total = f"{replicas} x ${usd_per_hour:.4g} = ${replicas * usd_per_hour:.4g}"
    return f"{replicas} replicas (scaling.{field}) can cost: {total}"


def _slot_usd(kind: InstanceType) -> float:
    return kind.usd_per_hour / kind.devices
