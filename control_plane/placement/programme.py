"""The placement programme as rows and columns for a solver.

Columns are instances of each pool, replicas of each candidate, and starts where the deployment runs
already; elsewhere every replica is a start. Rows are written as a cover's are best known to a
solver: scaled to a need of one, no replica serving more than all of it, and rounded once for each
capacity (mixed-integer rounding: Nemhauser and Wolsey, Integer and Combinatorial Optimization,
II.1.7), which leaves every plan as it was and takes fractions of replicas away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import coo_matrix

from control_plane.placement.candidates import Candidate
from control_plane.placement.offer import Pool
from control_plane.placement.plan import Plan, cost, share_usd
from control_plane.placement.problem import Fit, Problem, Want

_INFINITE = float("inf")
_SLACK = 1e-9

Column = tuple[int, Fit]


class Programme:
    def __init__(self, problem: Problem, placings: Sequence[Candidate]) -> None:
        self.problem = problem
        self.placings = placings
        pools = sorted({each.fit.pool for each in placings})
        self._instances = {pool: column for column, pool in enumerate(pools)}
        self._first_replica = len(pools)
        running = [i for i, each in enumerate(placings) if each.want.running.get(each.fit.pool)]
        first_start = len(pools) + len(placings)
        self._starts = {index: first_start + number for number, index in enumerate(running)}
        self._entries: list[tuple[int, int, float]] = []
        self._low: list[float] = []
        self._high: list[float] = []

    def costs(self) -> list[float]:
        starts = [each.want.start_usd for each in self.placings]
        return [
            *(self.problem.usd_per_hour(pool) for pool in self._instances),
            *(0.0 if index in self._starts else usd for index, usd in enumerate(starts)),
            *(starts[index] for index in self._starts),
        ]

    def bounds(self) -> Bounds:
        lower = [0.0] * self._first_replica
        upper = [self.problem.obtainable.get(pool, _INFINITE) for pool in self._instances]
        for want, fit in ((each.want, each.fit) for each in self.placings):
            staying = 0 if self.problem.moves else want.running.get(fit.pool, 0)
            # One pool that serves it all meets every need that it can meet.
            useful = math.ceil(want.demand / fit.capacity - _SLACK)
            lower.append(staying)
            upper.append(max(staying, min(useful, want.max_replicas)))
        return Bounds(lower + [0.0] * len(self._starts), upper + [_INFINITE] * len(self._starts))

    def integrality(self) -> list[int]:
        """Starts follow from the rest."""
        return [1] * (self._first_replica + len(self.placings)) + [0] * len(self._starts)

    def constraints(self) -> LinearConstraint:
        self._slots()
        self._moves()
        self._quotas()
        for want, columns in self._by_want():
            self._needs(want, columns)
        rows, at, values = zip(*self._entries, strict=True)
        shape = (len(self._low), self._first_replica + len(self.placings) + len(self._starts))
        matrix = coo_matrix((values, (rows, at)), shape).tocsc()
        return LinearConstraint(matrix, self._low, self._high)

    def plan(self, values: np.ndarray[tuple[int], np.dtype[np.float64]], bound: float) -> Plan:
        """The plan that a solution says.

        Args:
            values: one for each column.
            bound: what no solution costs less than.
        """
        instances = {
            pool: count
            for pool, column in self._instances.items()
            if (count := round(values[column]))
        }
        replicas: dict[str, dict[Pool, int]] = {}
        for column, each in enumerate(self.placings, self._first_replica):
            count = round(values[column])
            if count:
                replicas.setdefault(each.want.deployment, {})[each.fit.pool] = count
        return Plan(instances, replicas, cost(self.problem, instances), float(bound), "milp")

    def _by_want(self) -> Iterable[tuple[Want, list[Column]]]:
        found: dict[str, tuple[Want, list[Column]]] = {}
        for column, each in enumerate(self.placings, self._first_replica):
            own = found.setdefault(each.want.deployment, (each.want, []))
            own[1].append((column, each.fit))
        return found.values()

    def _row(self, entries: Mapping[int, float], low: float, high: float = _INFINITE) -> None:
        row = len(self._low)
        self._entries += [(row, column, value) for column, value in entries.items()]
        self._low.append(low)
        self._high.append(high)

    def _slots(self) -> None:
        devices = {pool: float(self.problem.offers[pool].devices) for pool in self._instances}
        rows = {pool: {self._instances[pool]: devices[pool]} for pool in self._instances}
        for column, each in enumerate(self.placings, self._first_replica):
            rows[each.fit.pool][column] = -float(each.fit.devices)
        for entries in rows.values():
            self._row(entries, 0.0)

    def _moves(self) -> None:
        for index, start in self._starts.items():
            each = self.placings[index]
            entries = {start: 1.0, self._first_replica + index: -1.0}
            self._row(entries, -float(each.want.running[each.fit.pool]))

    def _quotas(self) -> None:
        offers = self.problem.offers
        for quota, vcpus in self.problem.quotas.items():
            entries = {
                column: float(offers[pool].vcpus)
                for pool, column in self._instances.items()
                if offers[pool].quota == quota
            }
            if entries:
                self._row(entries, 0.0, float(vcpus))

    def _needs(self, want: Want, columns: Sequence[Column]) -> None:
        self._cover(columns, want.demand)
        kept = want.demand * want.kept_share
        if kept > 0:
            for pool in sorted({fit.pool for _, fit in columns if fit.pool.market == "spot"}):
                self._cover([each for each in columns if each[1].pool != pool], kept)
        self._row({column: 1.0 for column, _ in columns}, 0.0, float(want.max_replicas))
        if want.max_usd_per_hour < _INFINITE:
            shares = {column: share_usd(self.problem, fit) for column, fit in columns}
            self._row(shares, 0.0, want.max_usd_per_hour)

    def _cover(self, columns: Sequence[Column], need: float) -> None:
        """Replicas that serve so much together."""
        self._row({column: min(fit.capacity / need, 1.0) for column, fit in columns}, 1.0)
        for capacity in sorted({fit.capacity for _, fit in columns if fit.capacity < need}):
            missing = need / capacity - math.floor(need / capacity)
            if _SLACK < missing < 1 - _SLACK:
                whole = math.ceil(need / capacity)
                counted = {
                    column: min(_rounded(fit.capacity / capacity, missing), float(whole))
                    for column, fit in columns
                }
                self._row(counted, float(whole))


def _rounded(serves: float, missing: float) -> float:
    """What a replica counts in a need that is rounded up to whole ones.

    Args:
        missing: what the need is above whole ones.
    """
    whole = math.floor(serves + _SLACK)
    return whole + min(1.0, max(0.0, serves - whole) / missing)
