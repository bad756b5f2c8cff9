"""The placement programme: cheapest instances and replicas, as a mixed-integer programme (Mélange,
arXiv 2404.14527, with the correlated losses of SpotHedge, EuroSys'25), solved by HiGHS.

    minimise   sum of price and risk of instances + cost of starts
    subject to slots      replicas on a pool take no more slots than its instances have
               demand     each deployment's replicas serve its demand
               losses     and a share of it without any one spot pool
               limits     replicas and dollars of a deployment, quotas, instances obtainable
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from control_plane.placement.candidates import Candidate, candidates
from control_plane.placement.greedy import greedy
from control_plane.placement.offer import Pool
from control_plane.placement.plan import Plan, cost, share_usd, start_cost, violations
from control_plane.placement.problem import Problem, Want
from control_plane.placement.rejection import rejected

_INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Effort:
    """Bounds of the search: nodes and a gap, never seconds, so that the same question has the same
    answer on every machine."""

    nodes: int = 500
    gap: float = 0.009
    """Of the optimum, at which the search ends."""
    accepted_gap: float = 0.02
    """A plan that the search left further away than this is held against the greedy one."""


def place(problem: Problem, effort: Effort | None = None) -> Plan:
    """The cheapest plan, or the better of it and a greedy one where the search was cut off.

    Raises:
        Impossible: a deployment's needs cannot be met; the message has the numbers.
    """
    effort = effort or Effort()
    found = _solve(problem, effort)
    if found is None or _gap(problem, found) > effort.accepted_gap:
        plans = [greedy(problem), *([found] if found is not None else [])]
        bound = found.bound_usd_per_hour if found is not None else None
        best = min(plans, key=lambda plan: _objective(problem, plan))
        found = Plan(best.instances, best.replicas, best.usd_per_hour, bound, best.solver)
    return Plan(
        found.instances,
        found.replicas,
        found.usd_per_hour,
        found.bound_usd_per_hour,
        found.solver,
        rejected(problem, found),
    )


def _objective(problem: Problem, plan: Plan) -> float:
    return plan.usd_per_hour + start_cost(problem, plan.replicas)


def _gap(problem: Problem, plan: Plan) -> float:
    whole = _objective(problem, plan)
    if not whole or plan.bound_usd_per_hour is None:
        return 0.0 if not whole else _INFINITE
    return (whole - plan.bound_usd_per_hour) / whole


def _solve(problem: Problem, effort: Effort) -> Plan | None:
    """None where the search found nothing within its bounds."""
    programme = _Programme(problem, candidates(problem))
    if not programme.placings:
        return Plan({}, {}, 0.0, 0.0, "milp")
    answer = milp(
        programme.costs,
        constraints=programme.constraints(),
        bounds=Bounds(programme.lower, programme.upper),
        integrality=programme.integral,
        options={"node_limit": effort.nodes, "mip_rel_gap": effort.gap},
    )
    if answer.x is None:
        return None
    plan = programme.plan(np.rint(answer.x).astype(int), answer.mip_dual_bound)
    return None if violations(problem, plan) else plan


class _Programme:
    """Columns: instances of each pool, then replicas of each candidate, then those of them that
    are started. Rows are added one after the other."""

    def __init__(self, problem: Problem, placings: list[Candidate]) -> None:
        self.problem = problem
        self.placings = placings
        self.pools = sorted({each.fit.pool for each in placings})
        self._instances = {pool: column for column, pool in enumerate(self.pools)}
        self._first_replica = len(self.pools)
        self._first_start = self._first_replica + len(placings)
        self.costs = np.array(
            [problem.usd_per_hour(pool) for pool in self.pools]
            + [0.0] * len(placings)
            + [each.want.start_usd for each in placings]
        )
        self.upper = np.array(
            [problem.obtainable.get(pool, _INFINITE) for pool in self.pools]
            + [float(each.want.max_replicas) for each in placings] * 2
        )
        staying = [
            0.0 if problem.moves else float(each.want.running.get(each.fit.pool, 0))
            for each in placings
        ]
        self.lower = np.array([0.0] * len(self.pools) + staying + [0.0] * len(placings))
        # Starts follow from the rest.
        self.integral = np.array([1] * self._first_start + [0] * len(placings))
        self._entries: list[tuple[int, int, float]] = []
        self._low: list[float] = []
        self._high: list[float] = []

    def constraints(self) -> LinearConstraint:
        self._slots()
        self._starts()
        self._quotas()
        for want in self.problem.wants:
            self._needs(want)
        rows, columns, values = zip(*self._entries, strict=True)
        shape = (len(self._low), len(self.costs))
        return LinearConstraint(
            coo_matrix((values, (rows, columns)), shape).tocsc(), self._low, self._high
        )

    def plan(self, values: np.ndarray[tuple[int], np.dtype[np.int_]], bound: float) -> Plan:
        instances = {
            pool: int(values[column]) for pool, column in self._instances.items() if values[column]
        }
        replicas: dict[str, dict[Pool, int]] = {}
        for index, each in enumerate(self.placings):
            count = int(values[self._first_replica + index])
            if count:
                replicas.setdefault(each.want.deployment, {})[each.fit.pool] = count
        return Plan(instances, replicas, cost(self.problem, instances), float(bound), "milp")

    def _row(self, entries: Mapping[int, float], low: float, high: float) -> None:
        row = len(self._low)
        self._entries += [(row, column, value) for column, value in entries.items()]
        self._low.append(low)
        self._high.append(high)

    def _slots(self) -> None:
        for pool, column in self._instances.items():
            entries = {column: float(self.problem.offers[pool].devices)}
            for index, each in enumerate(self.placings):
                if each.fit.pool == pool:
                    entries[self._first_replica + index] = -float(each.fit.devices)
            self._row(entries, 0.0, _INFINITE)

    def _starts(self) -> None:
        for index, each in enumerate(self.placings):
            entries = {self._first_start + index: 1.0, self._first_replica + index: -1.0}
            self._row(entries, -float(each.want.running.get(each.fit.pool, 0)), _INFINITE)

    def _quotas(self) -> None:
        for quota, vcpus in self.problem.quotas.items():
            entries = {
                column: float(self.problem.offers[pool].vcpus)
                for pool, column in self._instances.items()
                if self.problem.offers[pool].quota == quota
            }
            if entries:
                self._row(entries, 0.0, float(vcpus))

    def _needs(self, want: Want) -> None:
        own = {
            self._first_replica + index: each.fit
            for index, each in enumerate(self.placings)
            if each.want is want
        }
        served = {column: fit.capacity for column, fit in own.items()}
        self._row(served, want.demand, _INFINITE)
        for pool in sorted({fit.pool for fit in own.values() if fit.pool.market == "spot"}):
            left = {column: served[column] for column, fit in own.items() if fit.pool != pool}
            self._row(left, want.demand * want.kept_share, _INFINITE)
        self._row(dict.fromkeys(own, 1.0), 0.0, float(want.max_replicas))
        if want.max_usd_per_hour < _INFINITE:
            shares = {column: share_usd(self.problem, fit) for column, fit in own.items()}
            self._row(shares, 0.0, want.max_usd_per_hour)
