"""What a deployment's owner allows: kinds, places, markets, and a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from control_plane.placement.offer import Offer

SpotPolicy = Literal["prefer", "only", "never"]


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """Empty tuples allow everything."""

    accelerators: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    spot: SpotPolicy = "prefer"
    """prefer: on-demand bridges what spot does not give; only: it waits for spot; never."""
    max_usd_per_hour: float = float("inf")
    """For all its replicas together."""

    @property
    def says_what_to_pay(self) -> bool:
        """By a limit, or by naming the machines."""
        return self.limits_price or bool(self.accelerators or self.instance_types)

    @property
    def limits_price(self) -> bool:
        return self.max_usd_per_hour < float("inf")

    def refusal(self, offer: Offer) -> str:
        """Why the offer is not allowed; empty where it is."""
        pool = offer.pool
        for allowed, has, what in (
            (self.accelerators, offer.accelerator, "accelerators"),
            (self.regions, offer.region, "regions"),
            (self.zones, pool.zone, "zones"),
            (self.instance_types, pool.instance_type, "instance_types"),
        ):
            if allowed and has not in allowed:
                return f"{has} is not among placement.{what}"
        if self.spot == "only" and pool.market != "spot":
            return "placement.spot is only"
        if self.spot == "never" and pool.market == "spot":
            return "placement.spot is never"
        return ""
