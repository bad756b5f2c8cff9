"""The placement programme: cheapest instances and replicas, as a mixed-integer programme (Mélange,
arXiv 2404.14527, with the correlated losses of SpotHedge, EuroSys'25), solved by HiGHS: as it is
written below, or, for many deployments that may move, by branch and price.

    minimise   sum of price and risk of instances + cost of starts
    subject to slots      replicas on a pool take no more slots than its instances have
               demand     each deployment's replicas serve its demand
               losses     and a share of it without any one spot pool
               limits     replicas and dollars of a deployment, quotas, instances obtainable
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.optimize import milp

from control_plane.placement.branch_and_price import branch_and_price
from control_plane.placement.candidates import candidates
from control_plane.placement.greedy import greedy
from control_plane.placement.plan import Plan, violations, whole_cost, worth
from control_plane.placement.problem import Problem
from control_plane.placement.programme import Programme
from control_plane.placement.rejection import rejected

_INFINITE = float("inf")
_MANY = 16
"""Deployments, from which on branch and price is quicker."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Bounds of the search: nodes and a gap, never seconds, so that the same question has the same
    answer on every machine."""

    nodes: int = 500
    gap: float = 0.0095
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
        best = min(plans, key=lambda plan: worth(problem, plan))
        found = Plan(best.instances, best.replicas, best.usd_per_hour, bound, best.solver)
    return Plan(
        found.instances,
        found.replicas,
        found.usd_per_hour,
        found.bound_usd_per_hour,
        found.solver,
        rejected(problem, found),
    )


def _gap(problem: Problem, plan: Plan) -> float:
    whole = whole_cost(problem, plan)
    if not whole or plan.bound_usd_per_hour is None:
        return 0.0 if not whole else _INFINITE
    return (whole - plan.bound_usd_per_hour) / whole


def _solve(problem: Problem, effort: Effort) -> Plan | None:
    """None where the search found nothing within its bounds."""
    many = problem.moves and sum(want.demand > 0 for want in problem.wants) >= _MANY
    plan = branch_and_price(problem, effort.gap, effort.nodes) if many else None
    plan = plan or _programme(problem, effort)
    return None if plan is None or violations(problem, plan) else plan


def _programme(problem: Problem, effort: Effort) -> Plan | None:
    placings = candidates(problem)
    if not placings:
        return Plan({}, {}, 0.0, 0.0, "milp")
    programme = Programme(problem, placings)
    answer = milp(
        programme.costs(),
        constraints=programme.constraints(),
        bounds=programme.bounds(),
        integrality=programme.integrality(),
        options={"node_limit": effort.nodes, "mip_rel_gap": effort.gap},
    )
    if answer.x is None:
        return None
    return programme.plan(answer.x, answer.mip_dual_bound)
