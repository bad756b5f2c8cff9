"""A cloud in memory that sells different machines, runs out of some, and takes some back."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from infra.cloud.base import (
    CloudInstance,
    CloudInstanceState,
    CloudOffer,
    CloudPool,
    LaunchRequest,
    Market,
    Notice,
    NoticeKind,
)
from infra.cloud.refusals import InsufficientCapacity, QuotaReached
from tests.control_plane.controller.memory_cloud import MemoryCloud

A, B = "us-east-1a", "us-east-1b"


def offer(
    kind: str, zone: str, market: Market, usd: float, devices: int = 1, accelerator: str = "L4"
) -> CloudOffer:
    pool = CloudPool(kind, zone, market)
    return CloudOffer(pool, "us-east-1", accelerator, devices, 4 * devices, 1 << 34, usd, "g")


class MarketCloud(MemoryCloud):
    """`Cloud`, `Catalogue` and `NoticeSource`."""

    def __init__(self) -> None:
        super().__init__()
        self.sold = [
            offer("g6.xlarge", A, Market.SPOT, 0.30),
            offer("g6.xlarge", B, Market.SPOT, 0.32),
            offer("g6.xlarge", A, Market.ON_DEMAND, 0.80),
        ]
        self.empty: set[CloudPool] = set()
        """Pools without a machine to give."""
        self.spent: set[Market] = set()
        """Markets whose quota is used."""
        self.quota: int | None = None
        """Machines that may run at once."""
        self.refused = 0
        """Launches, for want of a quota."""
        self.announced: list[Notice] = []
        self.beside: list[list[str]] = []
        """Of each launch, the machines that were there."""

    async def offers(self) -> Sequence[CloudOffer]:
        self._check()
        return list(self.sold)

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        """In the first pool that has a machine."""
        own = CloudPool(request.instance_type, request.zone, request.market)
        asked = (own, *request.alternatives)
        room = [pool for pool in asked if pool not in self.empty]
        if request.instance_id not in self.requests:
            if not room:
                raise InsufficientCapacity("none left", asked)
            full = self.quota is not None and len(self.alive()) >= self.quota
            if request.market in self.spent or full:
                self.refused += 1
                raise QuotaReached("no more for you", asked)
        self.beside.append(self.alive())
        await super().launch(request)
        machine = msgspec.structs.replace(self.machines[request.instance_id], pool=room[0])
        self.machines[request.instance_id] = machine
        return machine

    async def notices(self) -> Sequence[Notice]:
        self._check()
        return list(self.announced)

    async def acknowledge(self, notices: Sequence[Notice]) -> None:
        self._check()
        self.announced = [each for each in self.announced if each not in notices]

    def announce(self, cloud_id: str, kind: NoticeKind = NoticeKind.INTERRUPTION) -> None:
        self.announced.append(Notice(kind, cloud_id, 0.0, f"receipt-{len(self.announced)}"))

    def take(self, instance_id: str) -> None:
        self.put(instance_id, CloudInstanceState.TERMINATED, "taken back")
        taken = msgspec.structs.replace(self.machines[instance_id], taken=True)
        self.machines[instance_id] = taken
