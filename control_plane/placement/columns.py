"""The choice of covers and machines as rows and columns for a solver.

    minimise   price and risk of machines + cost of covers
    subject to slots     the covers chosen on a pool take no more slots than its machines have
               limits    machines of a family take no more virtual CPUs than may be had, and there
                         are no more of a pool than can be had
               choices   each deployment has one cover, or none

Machines with a single slot come with the replica on it; only those that are shared are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csc_matrix, hstack, vstack

from control_plane.placement.enumeration import Covers, Floats, Rows
from control_plane.placement.offer import Pool
from control_plane.placement.problem import Problem


class Columns:
    """Machines of shared pools, deployments without a cover, and covers."""

    def __init__(self, problem: Problem, lists: Sequence[Covers]) -> None:
        self.lists = lists
        used, slots = _slots(lists)
        devices = np.array([problem.offers[pool].devices for pool in used])
        shared, single = np.flatnonzero(devices > 1), np.flatnonzero(devices == 1)
        self.pools = [used[row] for row in shared]
        self.devices = devices[shared].astype(float)
        self.machine_usd = np.array([problem.usd_per_hour(pool) for pool in self.pools])
        self.most = np.array([problem.obtainable.get(pool, np.inf) for pool in self.pools])
        self.slots = slots[shared]
        """By shared pool and cover."""
        self.owner = np.repeat(np.arange(len(lists)), [len(each.usd) for each in lists])
        self.first_of_owner = np.searchsorted(self.owner, np.arange(len(lists)))
        alone = slots[single]
        alone_usd = np.array([problem.usd_per_hour(used[row]) for row in single])
        starts_usd = np.concatenate([each.starts_usd for each in lists])
        self.cover_usd: Floats = alone.T @ alone_usd + starts_usd
        families = {problem.offers[pool].quota for pool in used}
        self.quotas = sorted(families & problem.quotas.keys())
        limited = [row for row in single if used[row] in problem.obtainable]
        self.scarce = [used[row] for row in limited]
        """Pools of single slots of which only so many can be had."""
        vcpus = self._vcpus(problem, used)
        choices = csc_matrix((np.ones(len(self.owner)), (self.owner, np.arange(len(self.owner)))))
        by_machine = [-csc_matrix(np.diag(self.devices)), vcpus[:, shared]]
        by_cover = [self.slots, vcpus[:, single] @ alone, slots[limited]]
        limits = [problem.quotas[quota] for quota in self.quotas]
        limits += [problem.obtainable[pool] for pool in self.scarce]
        self.high = np.concatenate([np.zeros(len(shared)), limits, np.ones(len(lists))])
        self.choices = len(self.high) - len(lists)
        """The first row of these, which are equations."""
        machines = _padded(by_machine, len(self.high), len(shared))
        without = vstack([csc_matrix((self.choices, len(lists))), csc_matrix(np.eye(len(lists)))])
        self._matrix = hstack([machines, without, vstack([*by_cover, choices])]).tocsc()
        self.priced = self._matrix[: self.choices, self._first_cover :].T.tocsr()
        """What each cover takes of slots and limits."""

    def of(self, covers: Rows, *, unserved: bool) -> csc_matrix:
        """Machines and some covers, between them the deployments without one."""
        first = self._first_cover if unserved else len(self.pools)
        return self._matrix[:, np.concatenate([np.arange(first), self._first_cover + covers])]

    def cover(self, number: int) -> tuple[Covers, int]:
        """The list that it is in, and its row there."""
        owner = int(self.owner[number])
        return self.lists[owner], number - int(self.first_of_owner[owner])

    def usd(self, covers: Rows) -> float:
        """Of a choice, with as many machines as it takes."""
        slots = np.asarray(self.slots[:, covers].sum(axis=1)).ravel()
        machines_usd = np.ceil(slots / self.devices) @ self.machine_usd
        return float(machines_usd + self.cover_usd[covers].sum())

    @property
    def _first_cover(self) -> int:
        return len(self.pools) + len(self.lists)

    def _vcpus(self, problem: Problem, pools: Sequence[Pool]) -> csc_matrix:
        """By quota and pool, of one machine."""
        row = {quota: number for number, quota in enumerate(self.quotas)}
        vcpus = np.zeros((len(self.quotas), len(pools)))
        for column, offer in enumerate(problem.offers[pool] for pool in pools):
            if offer.quota in row:
                vcpus[row[offer.quota], column] = offer.vcpus
        return csc_matrix(vcpus)


def _padded(blocks: Sequence[csc_matrix], rows: int, columns: int) -> csc_matrix:
    """With rows of zeros below."""
    there = sum(block.shape[0] for block in blocks)
    return vstack([*blocks, csc_matrix((rows - there, columns))])


def _slots(lists: Sequence[Covers]) -> tuple[list[Pool], csc_matrix]:
    """Pools that covers use, and what each takes there, by pool and cover."""
    pools = sorted({fit.pool for each in lists for fit in each.fits})
    row = {pool: number for number, pool in enumerate(pools)}
    rows, columns, values, first = [], [], [], 0
    for each in lists:
        devices = np.array([fit.devices for fit in each.fits])
        numbers = np.array([row[fit.pool] for fit in each.fits])
        cover, fit = np.nonzero(each.counts)
        rows.append(numbers[fit])
        columns.append(first + cover)
        values.append((each.counts * devices)[cover, fit].astype(float))
        first += len(each.usd)
    at = (np.concatenate(rows), np.concatenate(columns))
    slots = csc_matrix((np.concatenate(values), at), (len(pools), first))
    used = np.flatnonzero(slots.getnnz(axis=1))
    return [pools[row] for row in used], slots[used]
