"""How long a plan takes, how far it is from the solver's bound, and what greedy alone costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.placement.greedy import greedy
from control_plane.placement.optimiser import place
from control_plane.placement.plan import Plan, violations, whole_cost
from control_plane.placement.problem import Problem
from loadtests.benchmarks.control_plane.problems import CatalogueRow, problem


class BrokenPlan(RuntimeError):
    """A plan that may not be carried out: its cost means nothing."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One problem."""

    elapsed_s: float
    gap: float
    """Of the plan's cost, above the solver's bound."""
    greedy_s: float
    greedy_gap: float
    """As `gap`, of the greedy plan."""
    solver: str


def measure(rows: Sequence[CatalogueRow], deployments: int, seeds: int) -> list[Placed]:
    """
    Raises:
        BrokenPlan: see there.
    """
    return [_place(problem(rows, deployments, seed)) for seed in range(seeds)]


def _place(asked: Problem) -> Placed:
    began_s = time.perf_counter()
    plan = place(asked)
    elapsed_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    quick = greedy(asked)
    greedy_s = time.perf_counter() - began_s
    bound = plan.bound_usd_per_hour
    if bound is None:
        raise BrokenPlan("the solver knows no bound")
    return Placed(
        elapsed_s,
        _gap(asked, plan, bound),
        greedy_s,
        _gap(asked, quick, bound),
        plan.solver,
    )


def _gap(asked: Problem, plan: Plan, bound: float) -> float:
    broken = violations(asked, plan)
    if broken:
        raise BrokenPlan("; ".join(broken[:3]))
    return (whole_cost(asked, plan) - bound) / bound
