"""How likely EC2 thinks spot capacity is, 1 to 10, by zone; where it offers to say so.

A hint: whatever is wrong with it, machines are launched without."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from infra.cloud.aws.access import AwsAccess
from infra.cloud.base import CloudError

_KEEP_S = 600.0
"""EC2 allows few different questions a day."""


class PlacementScores:
    """Cached for ten minutes."""

    def __init__(self, access: AwsAccess, keep_s: float = _KEEP_S) -> None:
        self._access = access
        self._keep_s = keep_s
        self._known: dict[tuple[tuple[str, ...], int], tuple[float, Mapping[str, int]]] = {}
        self._zones: Mapping[str, str] = {}

    async def of(self, instance_types: Sequence[str], instances: int) -> Mapping[str, int]:
        """By zone, for so many instances of any of the types; those that were told last where it
        cannot be had, and empty where it never could."""
        key = tuple(sorted(set(instance_types))), instances
        if not key[0]:
            return {}
        known = self._known.get(key)
        if known is None or time.monotonic() - known[0] > self._keep_s:
            try:
                told = await self._access.do(lambda: self._ask(*key))
            except CloudError:
                told = {} if known is None else known[1]
            known = self._known[key] = time.monotonic(), told
        return known[1]

    def _ask(self, instance_types: Sequence[str], instances: int) -> Mapping[str, int]:
        """Raises Refusal."""
        told = self._access.pages(
            "ec2",
            "get_spot_placement_scores",
            "SpotPlacementScores",
            InstanceTypes=list(instance_types),
            TargetCapacity=instances,
            SingleAvailabilityZone=True,
            RegionNames=[self._access.region],
        )
        zones = self._zone_names()
        return {
            zones[each["AvailabilityZoneId"]]: int(each["Score"])
            for each in told
            if each.get("AvailabilityZoneId") in zones
        }

    def _zone_names(self) -> Mapping[str, str]:
        """By id: scores speak of ids, since accounts name the same zone differently."""
        if not self._zones:
            told = self._access.call("ec2", "describe_availability_zones")["AvailabilityZones"]
            self._zones = {each["ZoneId"]: each["ZoneName"] for each in told}
        return self._zones
