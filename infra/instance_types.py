"""Instance types with accelerators, and what they cost on demand: a data file that says its source
and date. Spot prices are asked of the cloud; on-demand prices move once a year or so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

_AWS = Path(__file__).with_name("instance_types_aws.json")
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class InstanceType:
    name: str
    accelerator: str
    """As `infra.performance.hardware` names it."""
    devices: int
    vcpus: int
    memory_bytes: int
    """Of the host."""
    usd_per_hour: float
    """On demand."""

    @property
    def quota_family(self) -> str:
        """What AWS counts virtual CPUs by: "G and VT" types together, "P" types together."""
        return self.name[0]


@lru_cache(maxsize=32)
def aws_instance_types(region: str) -> Mapping[str, InstanceType]:
    """Of EC2, by name, for machines with x86 processors and NVIDIA devices.

    The price of a region that the file does not know is an estimate.
    """
    told = msgspec.json.decode(_AWS.read_bytes(), type=dict[str, Any])
    factors = told["region_factors"]
    factor = factors.get(region, factors["elsewhere"])
    found = {}
    for name, accelerator, devices, vcpus, memory_gib, usd in told["types"]:
        price = round(usd * factor, 5)
        found[name] = InstanceType(name, accelerator, devices, vcpus, memory_gib * _GIB, price)
    return found
