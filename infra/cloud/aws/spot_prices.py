"""What spot machines cost now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from infra.cloud.aws.access import AwsAccess
from infra.cloud.base import CloudPool, Market

_KEEP_S = 60.0
"""EC2 moves a price every few minutes at most."""
_SYSTEM = "Linux/UNIX"


class SpotPrices:
    """Cached for a minute."""

    def __init__(self, access: AwsAccess, keep_s: float = _KEEP_S) -> None:
        self._access = access
        self._keep_s = keep_s
        self._known: dict[tuple[str, ...], tuple[float, Mapping[CloudPool, float]]] = {}

    async def of(self, instance_types: Sequence[str]) -> Mapping[CloudPool, float]:
        """US dollars an hour in every zone of the region where a type is sold. Raises Refusal."""
        key = tuple(sorted(set(instance_types)))
        if not key:
            return {}
        known = self._known.get(key)
        if known is None or time.monotonic() - known[0] > self._keep_s:
            known = time.monotonic(), await self._access.do(lambda: self._ask(key))
            self._known[key] = known
        return known[1]

    def _ask(self, instance_types: Sequence[str]) -> Mapping[CloudPool, float]:
        told = self._access.pages(
            "ec2",
            "describe_spot_price_history",
            "SpotPriceHistory",
            InstanceTypes=list(instance_types),
            ProductDescriptions=[_SYSTEM],
            StartTime=datetime.now(UTC),  # the price that holds then, one for each pool
        )
        newest: dict[CloudPool, tuple[float, float]] = {}
        for each in told:
            pool = CloudPool(each["InstanceType"], each["AvailabilityZone"], Market.SPOT)
            price = each["Timestamp"].timestamp(), float(each["SpotPrice"])
            newest[pool] = max(newest.get(pool, price), price)
        return {pool: usd_per_hour for pool, (_, usd_per_hour) in newest.items()}
