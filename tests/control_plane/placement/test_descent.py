"""Choices without a solver: what deployments find out together that none of them finds alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.placement.choices import Choices
from control_plane.placement.descent import Descent
from control_plane.placement.enumeration import covers
from control_plane.placement.greedy import greedy
from control_plane.placement.in_turn import in_turn
from control_plane.placement.offer import Market, Offer, Pool, Quota
from control_plane.placement.optimiser import place
from control_plane.placement.plan import plan_of, violations, whole_cost
from control_plane.placement.problem import Fit, Impossible, Problem, Want
from loadtests.benchmarks.control_plane.problems import made_up_catalogue, problem

_ENOUGH_USD = 100.0


def _offer(kind: str, usd: float, devices: int, market: Market = "on-demand") -> Offer:
    pool = Pool(kind, "r-1a", market)
    return Offer(pool, "r-1", "L4", devices, 1 << 34, 4 * devices, usd)


_ONE = _offer("one.large", 1.0, 1)
_FOUR = _offer("four.large", 3.0, 4)
_FIVE = _offer("five.large", 3.2, 5)


def _problem(*demands: float, offers: tuple[Offer, ...] = (_ONE, _FOUR)) -> Problem:
    fits = {offer.pool: Fit(offer.pool, 1, 1.0) for offer in offers}
    wants = [
        Want(f"d{number}", demand, fits, kept_share=0.0) for number, demand in enumerate(demands)
    ]
    return Problem({offer.pool: offer for offer in offers}, wants)


def _chosen(problem: Problem) -> dict[str, dict[Pool, int]] | None:
    lists = [
        covers(problem, want, list(want.fits.values()), problem.slot_usd, _ENOUGH_USD)
        for want in problem.wants
    ]
    choices = Choices(problem, lists)
    chosen = Descent(choices).run()
    return None if chosen is None else choices.replicas(chosen)


def test_deployments_meet_on_a_machine_that_none_would_take_alone() -> None:
    """Alone, each is cheaper on a machine of its own."""
    assert _chosen(_problem(1.0, 1.0, 1.0, 1.0)) == {
        f"d{number}": {_FOUR.pool: 1} for number in range(4)
    }


_SEVEN = (1.0,) * 7


def test_a_machine_that_two_must_leave_together_is_given_back() -> None:
    """Two replicas on the second machine cost more than two of their own; each alone would pay for
    both."""
    chosen = _chosen(_problem(*_SEVEN, offers=(_ONE, _FIVE)))
    assert chosen is not None
    used = [pool for placed in chosen.values() for pool in placed]
    assert (used.count(_FIVE.pool), used.count(_ONE.pool)) == (5, 2)


def test_no_machine_is_given_back_for_more_than_a_quota_allows() -> None:
    asked = replace(_problem(*_SEVEN, offers=(_ONE, _FIVE)), quotas={_ONE.quota: 4})
    chosen = _chosen(asked)
    assert chosen is not None
    assert violations(asked, plan_of(asked, chosen, None, "")) == []


def test_machines_beyond_a_quota_are_given_back() -> None:
    asked = replace(_problem(4.0, 4.0, 4.0), quotas={_FOUR.quota: 16})
    chosen = _chosen(asked)
    assert chosen is not None
    assert sum(placed.get(_FOUR.pool, 0) for placed in chosen.values()) == 4
    assert sum(placed.get(_ONE.pool, 0) for placed in chosen.values()) == 8


def test_no_more_of_a_pool_are_chosen_than_can_be_had() -> None:
    asked = replace(_problem(4.0, 4.0), obtainable={_FOUR.pool: 1})
    chosen = _chosen(asked)
    assert chosen is not None
    assert sum(placed.get(_FOUR.pool, 0) for placed in chosen.values()) == 4


def test_where_limits_leave_nothing_there_is_no_choice() -> None:
    asked = _problem(4.0, 4.0)
    limited = replace(
        asked, quotas={Quota("r-1", kind, "on-demand"): 4 for kind in ("one", "four")}
    )
    assert _chosen(limited) is None
    with pytest.raises(Impossible, match=r"of 4 can be served"):
        greedy(limited)


@pytest.mark.parametrize("seed", range(3))
def test_many_deployments_come_near_what_a_solver_finds(seed: int) -> None:
    asked = problem(made_up_catalogue(), 30, seed)
    plan, quick = place(asked), greedy(asked)
    assert violations(asked, quick) == []
    assert whole_cost(asked, quick) <= 1.05 * whole_cost(asked, plan)
    assert whole_cost(asked, quick) < whole_cost(asked, in_turn(asked))


def test_the_same_question_has_the_same_answer() -> None:
    asked = problem(made_up_catalogue(), 20, 0)
    assert greedy(asked) == greedy(asked)
