"""One cover for each deployment, and what they cost and take together: machines come whole, and
deployments share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from control_plane.placement.enumeration import Covers, Floats, Rows
from control_plane.placement.offer import Pool
from control_plane.placement.problem import Problem

_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Options:
    """The covers of one deployment."""

    pools: Rows
    """That they use, as rows of the choice's."""
    slots: Floats
    """By cover and pool."""
    starts_usd: Floats
    limits: Rows
    """That these pools count with."""


class Choices:
    """What may be chosen; a choice is the number of a cover for each deployment."""

    def __init__(self, problem: Problem, lists: Sequence[Covers]) -> None:
        self.lists = lists
        self.pools = sorted({fit.pool for each in lists for fit in each.fits})
        self.devices = np.array([float(problem.offers[pool].devices) for pool in self.pools])
        self.machine_usd = np.array([problem.usd_per_hour(pool) for pool in self.pools])
        self.slot_usd = self.machine_usd / self.devices
        self.takes, self.limits = _limits(problem, self.pools)
        row = {pool: number for number, pool in enumerate(self.pools)}
        self.options = [self._options(each, row) for each in lists]

    def _options(self, listed: Covers, row: dict[Pool, int]) -> Options:
        pools = np.array([row[fit.pool] for fit in listed.fits])
        devices = np.array([float(fit.devices) for fit in listed.fits])
        limits = np.flatnonzero(self.takes[pools].any(axis=0))
        return Options(pools, listed.counts * devices, listed.starts_usd, limits)

    def slots(self, chosen: Sequence[int]) -> Floats:
        """Taken, by pool."""
        taken = np.zeros(len(self.pools))
        for options, cover in zip(self.options, chosen, strict=True):
            taken[options.pools] += options.slots[cover]
        return taken

    def machines(self, slots: Floats, pools: Rows | slice = slice(None)) -> Floats:
        """That hold so many, by pool."""
        machines: Floats = np.ceil(slots / self.devices[pools] - _SLACK)
        return machines

    def usd(self, chosen: Sequence[int]) -> float:
        """Dollars per hour of machines, and of starts."""
        starts = sum(
            float(options.starts_usd[cover])
            for options, cover in zip(self.options, chosen, strict=True)
        )
        return float(self.machines(self.slots(chosen)) @ self.machine_usd) + starts

    def beyond(self, chosen: Sequence[int]) -> Floats:
        """What is taken of each limit beyond it."""
        return np.maximum(0.0, self.machines(self.slots(chosen)) @ self.takes - self.limits)

    def replicas(self, chosen: Sequence[int]) -> dict[str, dict[Pool, int]]:
        """By deployment and pool."""
        found = {}
        for listed, cover in zip(self.lists, chosen, strict=True):
            counted = zip(listed.fits, listed.counts[cover], strict=True)
            found[listed.want.deployment] = {
                fit.pool: int(count) for fit, count in counted if count
            }
        return found


def _limits(problem: Problem, pools: Sequence[Pool]) -> tuple[Floats, Floats]:
    """What a machine of each pool takes of each, and how high they are: virtual CPUs of quotas, and
    instances where only so many can be had. Both as multiples of the largest machine there."""
    quotas = sorted({problem.offers[pool].quota for pool in pools} & problem.quotas.keys())
    scarce = [pool for pool in pools if pool in problem.obtainable]
    takes = np.zeros((len(pools), len(quotas) + len(scarce)))
    for row, offer in enumerate(problem.offers[pool] for pool in pools):
        if offer.quota in problem.quotas:
            takes[row, quotas.index(offer.quota)] = offer.vcpus
        if offer.pool in problem.obtainable:
            takes[row, len(quotas) + scarce.index(offer.pool)] = 1.0
    high = [problem.quotas[quota] for quota in quotas]
    high += [problem.obtainable[pool] for pool in scarce]
    largest = np.maximum(takes.max(axis=0), 1.0)
    return takes / largest, np.array(high, dtype=float) / largest
