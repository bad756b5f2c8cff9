"""One instance from a fleet of type `instant`: what is asked, and what the answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.cloud.aws.classification import by_code
from infra.cloud.aws.launch_template import LaunchTemplate
from infra.cloud.aws.tags import INSTANCE_TAG, OWNER_TAG, tags_as_list
from infra.cloud.base import CloudPool, LaunchRequest, Market
from infra.cloud.refusals import CloudAway, InsufficientCapacity, Malformed, Refusal

Subnets = Mapping[str, str]
"""By zone; empty where the default VPC's are used."""


def pools_of(request: LaunchRequest) -> list[CloudPool]:
    """Wanted first. Raises Malformed: an alternative is of another market."""
    pools = [CloudPool(request.instance_type, request.zone, request.market)]
    for pool in request.alternatives:
        if pool.market is not request.market:
            raise Malformed("the alternatives of a launch are of its own market")
        if pool not in pools:
            pools.append(pool)
    return pools


def fleet_request(
    request: LaunchRequest,
    template: LaunchTemplate,
    user_data: str,
    subnets: Subnets,
    owner: str,
    client_token: str,
) -> dict[str, Any]:
    """Arguments of CreateFleet. Raises Malformed: a zone has no subnet."""
    spot = request.market is Market.SPOT
    tags = tags_as_list({OWNER_TAG: owner, INSTANCE_TAG: request.instance_id})
    asked: dict[str, Any] = {
        "Type": "instant",
        "ClientToken": client_token,
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateId": template.id,
                    "Version": template.version,
                    "LaunchTemplateSpecificationUserData": user_data,
                },
                "Overrides": [_override(pool, subnets) for pool in pools_of(request)],
            }
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": request.market.value,
        },
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in _TAGGED],
    }
    if spot:
        asked["SpotOptions"] = {"AllocationStrategy": "price-capacity-optimized"}
    else:
        asked["OnDemandOptions"] = {"AllocationStrategy": "lowest-price"}
    return asked


_TAGGED = ("instance", "fleet")
"""What a fleet request may tag; volumes take the owner from the launch template."""


def launched(
    answer: dict[str, Any], pools: Sequence[CloudPool], subnets: Subnets
) -> tuple[str, CloudPool]:
    """The cloud id of the instance and where it is.

    Raises:
        Refusal: there is none; what speaks of single pools names those.
    """
    for group in answer.get("Instances", []):
        for cloud_id in group.get("InstanceIds", []):
            return str(cloud_id), _spoken_of(group, pools, subnets)[0]
    raise _refusal(answer.get("Errors", []), pools, subnets)


def _refusal(
    errors: Sequence[Mapping[str, Any]], pools: Sequence[CloudPool], subnets: Subnets
) -> Refusal:
    if not errors:
        return CloudAway("the fleet has neither an instance nor a reason", pools)
    refusals = [
        by_code(
            str(error.get("ErrorCode", "")),
            str(error.get("ErrorMessage", "")),
            _spoken_of(error, pools, subnets),
        )
        for error in errors
    ]
    # What could pass decides; then what is wrong with us rather than with the place.
    refusals.sort(key=lambda each: (not each.retryable, isinstance(each, InsufficientCapacity)))
    kind, alike = type(refusals[0]), [each for each in refusals if type(each) is type(refusals[0])]
    named = dict.fromkeys(pool for each in alike for pool in each.pools)
    return kind("; ".join(_one_each(alike)), tuple(named))


def _one_each(refusals: Sequence[Refusal]) -> list[str]:
    """What they say: the same code of many pools once."""
    said: dict[str, list[str]] = {}
    for each in refusals:
        said.setdefault(each.code, []).append(str(each))
    return [
        first if not others else f"{first}, as do {len(others)} other pools"
        for first, *others in said.values()
    ]


def _spoken_of(
    said: Mapping[str, Any], pools: Sequence[CloudPool], subnets: Subnets
) -> list[CloudPool]:
    """The pools that a part of a fleet's answer names; all where it names none."""
    override = said.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
    zones = {subnet: zone for zone, subnet in subnets.items()}
    zone = override.get("AvailabilityZone") or zones.get(override.get("SubnetId", ""))
    kind = override.get("InstanceType") or said.get("InstanceType")
    named = [
        pool for pool in pools if kind in (None, pool.instance_type) and zone in (None, pool.zone)
    ]
    return named or list(pools)


def _override(pool: CloudPool, subnets: Subnets) -> dict[str, str]:
    override = {"InstanceType": pool.instance_type, "AvailabilityZone": pool.zone}
    if not subnets:
        return override
    if pool.zone not in subnets:
        raise Malformed(f"no subnet in zone {pool.zone}: name one in TAMER_AWS_SUBNETS", [pool])
    return {"InstanceType": pool.instance_type, "SubnetId": subnets[pool.zone]}
