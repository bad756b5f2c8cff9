"""What EC2 sells in our region: the types that we know, in the zones that have them and that we
have a subnet in, on demand and on spot."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.placement_scores import PlacementScores
from infra.cloud.aws.spot_prices import SpotPrices
from infra.cloud.base import CloudOffer, CloudPool, Market
from infra.instance_types import InstanceType, aws_instance_types

_KEEP_S = 3600.0
"""Types come to a zone a few times a year."""


class Offers:
    def __init__(
        self,
        access: AwsAccess,
        zones: Collection[str],
        prices: SpotPrices,
        scores: PlacementScores,
    ) -> None:
        """`zones`: those with a subnet; none: every zone."""
        self._access = access
        self._zones = frozenset(zones)
        self._prices = prices
        self._scores = scores
        self._sold: tuple[float, Sequence[tuple[str, str]]] | None = None

    async def now(self) -> Sequence[CloudOffer]:
        """By type and zone, spot before on-demand. Raises Refusal."""
        region = await self._access.do(lambda: self._access.region)
        types = aws_instance_types(region)
        sold = await self._places(sorted(types))
        named = sorted({name for name, _ in sold})
        spot = await self._prices.of(named)
        scores = await self._scores.of(named, 1)
        found = []
        for name, zone in sold:
            pool = CloudPool(name, zone, Market.SPOT)
            if pool in spot:
                found.append(_offer(types[name], pool, region, spot[pool], scores))
            pool = CloudPool(name, zone, Market.ON_DEMAND)
            found.append(_offer(types[name], pool, region, types[name].usd_per_hour, {}))
        return found

    async def _places(self, names: Sequence[str]) -> Sequence[tuple[str, str]]:
        if self._sold is None or time.monotonic() - self._sold[0] > _KEEP_S:
            self._sold = time.monotonic(), await self._access.do(lambda: self._ask(names))
        return self._sold[1]

    def _ask(self, names: Sequence[str]) -> Sequence[tuple[str, str]]:
        told = self._access.pages(
            "ec2",
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": list(names)}],
        )
        places = {(each["InstanceType"], each["Location"]) for each in told}
        return sorted(each for each in places if not self._zones or each[1] in self._zones)


def _offer(
    kind: InstanceType,
    pool: CloudPool,
    region: str,
    usd_per_hour: float,
    scores: Mapping[str, int],
) -> CloudOffer:
    return CloudOffer(
        pool=pool,
        region=region,
        accelerator=kind.accelerator,
        devices=kind.devices,
        vcpus=kind.vcpus,
        memory_bytes=kind.memory_bytes,
        usd_per_hour=usd_per_hour,
        quota_family=kind.quota_family,
        score=scores.get(pool.zone, 0),
    )
