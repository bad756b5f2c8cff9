"""Branch and price: what it finds for many deployments, and what it says of what is left."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import pytest

from control_plane.placement.branch_and_price import branch_and_price
from control_plane.placement.offer import Market, Offer, Pool
from control_plane.placement.optimiser import Effort, place
from control_plane.placement.plan import Plan, start_cost, violations
from control_plane.placement.problem import Fit, Problem, Want

_GAP, _NODES = 0.01, 500
_MARKETS: tuple[Market, ...] = ("spot", "on-demand")
seeds = pytest.mark.parametrize("seed", range(4))


def _problem(seed: int) -> Problem:
    rng = Random(seed)
    offers = {}
    for devices, zone, market in product((1, 4, 8), ("r-1a", "r-1b", "r-1c"), _MARKETS):
        pool = Pool(f"g{devices}.xlarge", zone, market)
        usd = devices * rng.uniform(0.3, 0.6) * (2.0 if market == "on-demand" else 1.0)
        offers[pool] = Offer(pool, "r-1", "L4", devices, 1 << 34, 4 * devices, usd)
    return Problem(offers, [_want(f"d{number:02}", offers, rng) for number in range(24)])


def _want(name: str, offers: dict[Pool, Offer], rng: Random) -> Want:
    size, serves = rng.choice((1, 2, 4)), rng.uniform(0.8, 3.0)
    fits = {
        pool: Fit(pool, size, serves * rng.choice((0.9, 1.0, 1.1)))
        for pool, offer in offers.items()
        if offer.devices >= size
    }
    running = dict.fromkeys(rng.sample(sorted(fits), 2), 1)
    kept = rng.choice((0.0, 0.5, 0.8))
    return Want(name, rng.uniform(0.5, 8.0), fits, kept_share=kept, running=running, start_usd=0.02)


def _usd(problem: Problem, plan: Plan) -> float:
    return plan.usd_per_hour + start_cost(problem, plan.replicas)


def _found(problem: Problem) -> Plan:
    plan = branch_and_price(problem, _GAP, _NODES)
    assert plan is not None
    assert violations(problem, plan) == []
    return plan


@seeds
def test_a_plan_is_within_the_gap_of_its_bound(seed: int) -> None:
    problem = _problem(seed)
    plan = _found(problem)
    assert plan.bound_usd_per_hour is not None
    assert plan.bound_usd_per_hour <= _usd(problem, plan)
    assert plan.bound_usd_per_hour >= (1 - 2 * _GAP) * _usd(problem, plan)
    assert type(plan.bound_usd_per_hour) is float  # not an array's, which is no JSON


@seeds
def test_no_plan_is_cheaper_than_its_bound(seed: int) -> None:
    problem = replace(_problem(seed), wants=_problem(seed).wants[:12])
    plan, other = _found(problem), place(problem)
    assert other.solver == "milp"
    assert plan.bound_usd_per_hour is not None
    assert other.bound_usd_per_hour is not None
    assert plan.bound_usd_per_hour <= _usd(problem, other) + 1e-6
    assert _usd(problem, plan) >= other.bound_usd_per_hour - 1e-6


@seeds
def test_quotas_and_what_can_be_had_are_kept(seed: int) -> None:
    problem = _problem(seed)
    free = _found(problem)
    most_used = sorted(free.instances, key=lambda pool: -free.instances[pool])[:3]
    quota = problem.offers[most_used[0]].quota
    vcpus = sum(
        count * problem.offers[pool].vcpus
        for pool, count in free.instances.items()
        if problem.offers[pool].quota == quota
    )
    bound = replace(
        problem,
        quotas={quota: vcpus // 2},
        obtainable={pool: free.instances[pool] // 2 for pool in most_used},
    )
    assert free.bound_usd_per_hour is not None
    plan = branch_and_price(bound, _GAP, _NODES) or place(bound)  # of seed 0 it finds none
    assert violations(bound, plan) == []
    assert _usd(problem, plan) >= free.bound_usd_per_hour


def test_where_no_plan_is_within_limits_none_is_found() -> None:
    problem = _problem(0)
    scarce = replace(problem, obtainable=dict.fromkeys(problem.offers, 1))
    assert branch_and_price(scarce, _GAP, 20) is None


def test_what_it_does_not_find_is_left_to_the_programme() -> None:
    problem = _problem(1)
    assert branch_and_price(problem, _GAP, 0) is None
    assert violations(problem, place(problem, Effort(nodes=0))) == []


def test_the_same_question_has_the_same_answer() -> None:
    assert _found(_problem(2)) == _found(_problem(2))
