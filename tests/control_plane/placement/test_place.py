"""Placement: what every plan keeps to, and that it is the cheapest that does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.placement.greedy import greedy
from control_plane.placement.offer import Market, Offer, Pool, Quota
from control_plane.placement.optimiser import Effort, place
from control_plane.placement.plan import Plan, plan_of, violations, worth
from control_plane.placement.problem import Fit, Impossible, Problem, Want

Solver = Callable[[Problem], Plan]
both = pytest.mark.parametrize("solve", [place, greedy])


def _offer(
    kind: str, zone: str, market: Market, usd: float, devices: int = 1, losses: float = 0.0
) -> Offer:
    pool = Pool(kind, zone, market)
    return Offer(pool, zone[:-1], "L4", devices, 1 << 34, 4 * devices, usd, 1.0, losses)


def _offers(*offers: Offer) -> dict[Pool, Offer]:
    return {offer.pool: offer for offer in offers}


def _want(name: str, demand: float, offers: dict[Pool, Offer], **changes: object) -> Want:
    fits = {pool: Fit(pool, 1, 1.0) for pool in offers}
    want = Want(name, demand, fits, kept_share=0.0)
    return replace(want, **changes)  # type: ignore[arg-type]


_SPOT_A = _offer("g6.xlarge", "us-east-1a", "spot", 0.30)
_SPOT_B = _offer("g6.xlarge", "us-east-1b", "spot", 0.32)
_STEADY = _offer("g6.xlarge", "us-east-1a", "on-demand", 0.80)
_EIGHT = _offer("g6.48xlarge", "us-east-1a", "on-demand", 4.0, devices=8)
_THREE = _offers(_SPOT_A, _SPOT_B, _STEADY)


@both
def test_the_cheapest_is_taken(solve: Solver) -> None:
    plan = solve(Problem(_THREE, [_want("chat", 3.0, _THREE)]))
    assert plan.instances == {_SPOT_A.pool: 3}
    assert plan.usd_per_hour == pytest.approx(0.9)


@both
def test_half_is_left_when_a_whole_pool_is_lost(solve: Solver) -> None:
    problem = Problem(_THREE, [_want("chat", 4.0, _THREE, kept_share=0.5)])
    assert solve(problem).instances == {_SPOT_A.pool: 2, _SPOT_B.pool: 2}


@both
def test_with_one_spot_pool_the_rest_is_bought_for_good(solve: Solver) -> None:
    offers = _offers(_SPOT_A, _STEADY)
    problem = Problem(offers, [_want("chat", 4.0, offers, kept_share=0.5)])
    assert solve(problem).instances == {_SPOT_A.pool: 2, _STEADY.pool: 2}


@both
def test_deployments_share_a_large_machine(solve: Solver) -> None:
    offers = _offers(_STEADY, _EIGHT)
    problem = Problem(offers, [_want("a", 4.0, offers), _want("b", 4.0, offers)])
    assert solve(problem).instances == {_EIGHT.pool: 1}


@both
def test_what_cannot_be_had_is_bought_elsewhere(solve: Solver) -> None:
    problem = Problem(_THREE, [_want("chat", 3.0, _THREE)], obtainable={_SPOT_A.pool: 1})
    assert solve(problem).instances == {_SPOT_A.pool: 1, _SPOT_B.pool: 2}


@both
def test_a_quota_is_kept(solve: Solver) -> None:
    quota = {Quota("us-east-1", "g6", "spot"): 8}
    problem = Problem(_THREE, [_want("chat", 3.0, _THREE)], quotas=quota)
    assert solve(problem).instances == {_SPOT_A.pool: 2, _STEADY.pool: 1}


@both
def test_what_its_owner_will_not_pay_is_refused_with_the_numbers(solve: Solver) -> None:
    problem = Problem(_THREE, [_want("chat", 3.0, _THREE, max_usd_per_hour=0.7)])
    with pytest.raises(Impossible, match=r"chat: .* takes \$0\.90/h, and it may cost \$0\.70/h"):
        solve(problem)
    few = Problem(_THREE, [_want("chat", 3.0, _THREE, max_replicas=2)])
    with pytest.raises(Impossible, match="takes 3 replicas, and it may have 2"):
        solve(few)


@both
def test_a_deployment_that_nothing_carries_is_refused_with_the_reason(solve: Solver) -> None:
    want = Want("huge", 1.0, {}, refused={_SPOT_A.pool: "87 GiB do not fit into 24"})
    with pytest.raises(Impossible, match=r"huge: nothing can carry it .*87 GiB do not fit"):
        solve(Problem(_THREE, [want]))


@both
def test_without_demand_nothing_is_bought(solve: Solver) -> None:
    assert solve(Problem(_THREE, [_want("idle", 0.0, _THREE)])).instances == {}


@both
def test_a_replica_is_not_moved_for_less_than_that_costs(solve: Solver) -> None:
    running = {_SPOT_B.pool: 3}
    stays = _want("chat", 3.0, _THREE, running=running, start_usd=0.03)
    assert solve(Problem(_THREE, [stays])).instances == {_SPOT_B.pool: 3}
    moves = replace(stays, start_usd=0.01)
    assert solve(Problem(_THREE, [moves])).instances == {_SPOT_A.pool: 3}


@both
def test_where_nothing_moves_only_what_is_missing_is_placed(solve: Solver) -> None:
    running = {_STEADY.pool: 2}
    want = _want("chat", 3.0, _THREE, running=running, start_usd=0.0)
    problem = Problem(_THREE, [want], moves=False)
    assert solve(problem).instances == {_STEADY.pool: 2, _SPOT_A.pool: 1}


@both
def test_a_slot_that_is_paid_for_already_is_taken_however_many_machines_are_cheaper(
    solve: Solver,
) -> None:
    cheap = [_offer("g6.xlarge", f"us-east-1{zone}", "spot", 0.30) for zone in "abcdefghijklmnop"]
    cheap += [_offer("g6.xlarge", f"us-east-1{zone}", "on-demand", 0.40) for zone in "abc"]
    offers = _offers(*cheap, _EIGHT)
    there = _want("there", 1.0, offers, running={_EIGHT.pool: 1})
    plan = solve(Problem(offers, [there, _want("new", 1.0, offers)], moves=False))
    assert plan.instances == {_EIGHT.pool: 1}
    assert plan.replicas["new"] == {_EIGHT.pool: 1}


@both
def test_what_stays_counts_with_its_quota(solve: Solver) -> None:
    quota = {Quota("us-east-1", "g6", "spot"): 4}
    want = _want("chat", 2.0, _THREE, running={_SPOT_B.pool: 1}, max_replicas=2)
    plan = solve(Problem(_THREE, [want], quotas=quota, moves=False))
    assert plan.instances == {_SPOT_B.pool: 1, _STEADY.pool: 1}


@both
def test_a_pool_that_is_often_lost_is_dearer_than_it_looks(solve: Solver) -> None:
    risky = replace(_SPOT_A, losses_per_hour=2.0)
    offers = _offers(risky, _SPOT_B)
    problem = Problem(offers, [_want("chat", 2.0, offers)], loss_usd=0.05)
    assert solve(problem).instances == {_SPOT_B.pool: 2}


def test_a_plan_says_why_the_others_were_not_taken() -> None:
    want = _want("chat", 3.0, _THREE, refused={_EIGHT.pool: "not an allowed type"})
    plan = place(Problem(_THREE, [want], obtainable={_SPOT_A.pool: 1}))
    told = plan.rejected["chat"]
    assert told[_STEADY.pool].startswith("dearer: $0.8000/h a unit, chosen up to $0.3200")
    assert told[_EIGHT.pool] == "not an allowed type"


def test_of_two_alike_the_other_is_not_said_to_cost_more() -> None:
    twin = _offer("g6.xlarge", "us-east-1b", "spot", 0.30)
    offers = _offers(_SPOT_A, twin)
    plan = place(Problem(offers, [_want("chat", 1.0, offers)]))
    [why] = plan.rejected["chat"].values()
    assert why == "no cheaper: $0.3000/h a unit, as what was chosen"


def test_a_plan_that_breaks_a_limit_is_worth_less_than_any_that_keeps_them() -> None:
    problem = Problem(_THREE, [_want("chat", 4.0, _THREE, kept_share=0.5)])
    risky, safe = ({_SPOT_A.pool: 4}, {_STEADY.pool: 4})
    plans = [plan_of(problem, {"chat": placed}, None, "") for placed in (risky, safe)]
    assert plans[0].usd_per_hour < plans[1].usd_per_hour
    assert min(plans, key=lambda plan: worth(problem, plan)) is plans[1]


def test_a_search_that_is_cut_off_falls_back_on_the_greedy_plan() -> None:
    problem = Problem(_THREE, [_want("chat", 3.0, _THREE)])
    plan = place(problem, Effort(nodes=0, accepted_gap=-1.0))
    assert not violations(problem, plan)
    assert plan.usd_per_hour == pytest.approx(0.9)


_PRICES = st.floats(0.1, 5.0).map(lambda usd: round(usd, 3))


@st.composite
def _problems(draw: st.DrawFn) -> Problem:
    offers = _offers(
        *(
            _offer(f"g{devices}.xlarge", zone, market, draw(_PRICES), devices)
            for devices, zone, market in product((1, 2, 4), ("r-1a", "r-1b"), ("spot", "on-demand"))
        )
    )
    wants = []
    for index in range(draw(st.integers(1, 4))):
        size = draw(st.sampled_from([1, 2]))
        fits = {
            pool: Fit(pool, size, draw(st.floats(0.5, 3.0)))
            for pool, offer in offers.items()
            if offer.devices >= size
        }
        kept = draw(st.sampled_from([0.0, 0.5, 0.8]))
        wants.append(Want(f"d{index}", draw(st.floats(0.1, 12.0)), fits, kept_share=kept))
    return Problem(offers, wants)


@settings(max_examples=40, deadline=None)
@given(problem=_problems(), more=st.floats(1.0, 3.0))
@pytest.mark.parametrize("solve", [place, greedy])
def test_a_plan_that_moves_nothing_has_all_that_runs(
    solve: Solver, problem: Problem, more: float
) -> None:
    before = greedy(problem)
    grown = [
        replace(want, demand=want.demand * more, running=before.replicas[want.deployment])
        for want in problem.wants
    ]
    after = replace(problem, wants=grown, moves=False)
    plan = solve(after)
    assert violations(after, plan) == []
    for want in grown:
        for pool, count in want.running.items():
            assert plan.replicas[want.deployment][pool] >= count


@settings(max_examples=40, deadline=None)
@given(problem=_problems())
def test_a_plan_breaks_nothing_and_no_greedy_one_is_cheaper(problem: Problem) -> None:
    best, quick = place(problem), greedy(problem)
    assert violations(problem, best) == []
    assert violations(problem, quick) == []
    assert best.usd_per_hour <= quick.usd_per_hour * 1.021
    assert best.bound_usd_per_hour is not None
    assert best.usd_per_hour >= best.bound_usd_per_hour - 1e-6


def test_the_same_question_has_the_same_answer() -> None:
    problem = Problem(_THREE, [_want("chat", 3.0, _THREE, kept_share=0.4)])
    assert place(problem) == place(problem)
