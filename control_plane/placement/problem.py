"""What placement is asked: who needs how much, what could carry it, what runs already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from control_plane.placement.offer import Offer, Pool, Quota

_LEAST_SHARE = 0.05
"""Of launches that succeed: less is believed of nobody."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One replica of a deployment on one offer."""

    pool: Pool
    devices: int
    """Slots that it takes; at most the offer's."""
    capacity: float
    """What it serves within the SLO, in the unit of the deployment's demand; above zero."""


@dataclass(frozen=True, slots=True)
class Want:
    """What one deployment needs."""

    deployment: str
    demand: float
    """In any unit, the same as its fits' capacities."""
    fits: Mapping[Pool, Fit]
    kept_share: float = 0.5
    """Of the demand, that must still be served when any one spot pool is lost whole."""
    max_replicas: int = 1000
    max_usd_per_hour: float = float("inf")
    """For its share of machines."""
    running: Mapping[Pool, int] = field(default_factory=dict)
    """Its replicas by where they are."""
    start_usd: float = 0.0
    """What it costs to start one more somewhere: a cold start's machine time, and what a move
    disturbs. No plan moves a replica for less than that saves in an hour."""
    refused: Mapping[Pool, str] = field(default_factory=dict)
    """Offers that cannot carry it, and why: for the explanation alone."""


@dataclass(frozen=True)
class Problem:
    offers: Mapping[Pool, Offer]
    wants: Sequence[Want]
    quotas: Mapping[Quota, int] = field(default_factory=dict)
    """Virtual CPUs; what has no entry has no limit."""
    obtainable: Mapping[Pool, int] = field(default_factory=dict)
    """Instances at most; what has no entry has no limit."""
    moves: bool = True
    """Whether what runs may be planned elsewhere; else it stays where it is, and only what is
    missing is placed."""
    loss_usd: float = 0.05
    """What the loss of one instance costs: work done again, a replacement's start."""

    def usd_per_hour(self, pool: Pool) -> float:
        """Price and risk of one instance, in expectation."""
        offer = self.offers[pool]
        return offer.usd_per_hour + offer.losses_per_hour * self.loss_usd

    @cached_property
    def slot_usd(self) -> Mapping[Pool, float]:
        """Of one device slot, in an hour: each deployment asks it of each offer."""
        return {
            pool: self.usd_per_hour(pool) / offer.devices for pool, offer in self.offers.items()
        }

    @cached_property
    def certain_slot_usd(self) -> Mapping[Pool, float]:
        """The same, as much dearer as launches are likely to fail."""
        shares = {
            pool: max(offer.launch_share, _LEAST_SHARE) for pool, offer in self.offers.items()
        }
        return {pool: usd / shares[pool] for pool, usd in self.slot_usd.items()}


class Impossible(ValueError):
    """No plan meets what a deployment needs; the message has the numbers."""
