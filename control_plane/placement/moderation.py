"""What nobody pays without having said so: when all ordinary machines are gone, a cloud still has
some at twenty times their price."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from control_plane.placement.offer import Offer, Pool
from control_plane.placement.problem import Fit

DEAREST = 8.0
"""Times what a replica costs on the cheapest on-demand machine that carries it."""


def immoderate(
    offers: Mapping[Pool, Offer],
    fits: Mapping[Pool, Fit],
    demand: int,
    running: Collection[Pool] = (),
) -> dict[Pool, str]:
    """Fits that are too dear to be meant, and why; where it runs already it may stay.

    Args:
        demand: replicas, over which whole machines are counted.
    """
    each_usd = {pool: _usd_per_replica(offers[pool], fit, demand) for pool, fit in fits.items()}
    steady = [usd for pool, usd in each_usd.items() if pool.market == "on-demand"]
    if not steady:
        return {}
    limit = DEAREST * min(steady)
    return {
        pool: f"${usd:.2f} an hour for a replica is more than {DEAREST:g} times the cheapest "
        f"on demand (${min(steady):.2f}): allow it by placement.max_usd_per_hour"
        for pool, usd in each_usd.items()
        if usd > limit and pool not in running
    }


def _usd_per_replica(offer: Offer, fit: Fit, demand: int) -> float:
    """Of whole machines that carry the demand."""
    if demand < 1:
        return 0.0
    machines = -(-demand * fit.devices // offer.devices)
    return offer.usd_per_hour * machines / demand
