"""What can be bought: one instance type in one zone on one market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Market = Literal["spot", "on-demand"]


class Pool(NamedTuple):
    """Machines that come and go together: what takes one spot instance often takes its neighbours
    (in recorded traces 65-90 % of lost instances go in drops of eight or more)."""

    instance_type: str
    zone: str
    market: Market


@dataclass(frozen=True, slots=True)
class Offer:
    pool: Pool
    region: str
    accelerator: str
    devices: int
    """Device slots of one instance."""
    memory_bytes: int
    """Of the host."""
    vcpus: int
    usd_per_hour: float
    launch_share: float = 1.0
    """Of launches that are likely to succeed now."""
    losses_per_hour: float = 0.0
    """Of a running instance to the cloud, expected."""
    quota_family: str = ""
    """What the cloud counts it with; empty: its own family alone."""

    @property
    def quota(self) -> Quota:
        """What clouds count: virtual CPUs by region, family and market."""
        family = self.quota_family or self.pool.instance_type.split(".")[0]
        return Quota(self.region, family, self.pool.market)


class Quota(NamedTuple):
    region: str
    family: str
    market: Market
