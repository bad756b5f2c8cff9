"""Machines while a plan is made: what is taken, what of it is free, what may still be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.placement.offer import Pool, Quota
from control_plane.placement.plan import share_usd
from control_plane.placement.problem import Fit, Problem

_PLENTY = 1 << 30


@dataclass(slots=True)
class Stock:
    problem: Problem
    used: dict[Pool, int] = field(default_factory=dict)
    """Device slots."""
    vcpus: dict[Quota, int] = field(default_factory=dict)
    limits: dict[Pool, int] = field(default_factory=dict)
    """Instances that may be used at most, whatever is there."""

    def instances(self, pool: Pool, more_slots: int = 0) -> int:
        """That hold what is used there and so many slots more."""
        slots = self.used.get(pool, 0) + more_slots
        return -(-slots // self.problem.offers[pool].devices)

    def begun(self) -> list[Pool]:
        """Pools whose instances have slots free."""
        return [
            pool
            for pool, used in self.used.items()
            if self.instances(pool) * self.problem.offers[pool].devices > used
        ]

    def free_slots(self, pool: Pool) -> int:
        """Of its instances that hold what is used there."""
        return self.instances(pool) * self.problem.offers[pool].devices - self.used.get(pool, 0)

    def share_usd(self, fit: Fit) -> float:
        """Dollars per hour of the slots of one replica."""
        return share_usd(self.problem, fit)

    def most(self, fit: Fit) -> int:
        """Replicas that can still be had there."""
        offer, problem = self.problem.offers[fit.pool], self.problem
        have = self.instances(fit.pool)
        more = max(0, problem.obtainable.get(fit.pool, _PLENTY) - have)
        limit = problem.quotas.get(offer.quota)
        if limit is not None:
            more = max(0, min(more, (limit - self.vcpus.get(offer.quota, 0)) // offer.vcpus))
        there = min(have + more, self.limits.get(fit.pool, _PLENTY))
        return max(0, there * offer.devices - self.used.get(fit.pool, 0)) // fit.devices

    def added_usd(self, fit: Fit, replicas: int, left_over: float) -> float:
        """Dollars per hour that so many replicas add.

        Args:
            left_over: the share of its price that a slot which nobody uses yet is counted with;
                less than 1 where somebody may still want it.
        """
        offer = self.problem.offers[fit.pool]
        slots = replicas * fit.devices
        before, after = self.instances(fit.pool), self.instances(fit.pool, slots)
        idle = after * offer.devices - self.used.get(fit.pool, 0) - slots
        idle -= before * offer.devices - self.used.get(fit.pool, 0)
        whole = self.problem.usd_per_hour(fit.pool)
        return whole * (after - before) - (1 - left_over) * whole * max(0, idle) / offer.devices

    def take(self, fits: Mapping[Pool, Fit], placed: Mapping[Pool, int]) -> None:
        for pool, count in placed.items():
            self._change(pool, count * fits[pool].devices)

    def give(self, fits: Mapping[Pool, Fit], placed: Mapping[Pool, int]) -> None:
        for pool, count in placed.items():
            self._change(pool, -count * fits[pool].devices)

    def _change(self, pool: Pool, slots: int) -> None:
        offer, before = self.problem.offers[pool], self.instances(pool)
        self.used[pool] = self.used.get(pool, 0) + slots
        grown = (self.instances(pool) - before) * offer.vcpus
        self.vcpus[offer.quota] = self.vcpus.get(offer.quota, 0) + grown
