"""Covers of a deployment: which are listed, and that none is missing."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.placement.enumeration import covers
from control_plane.placement.offer import Market, Offer, Pool
from control_plane.placement.plan import Plan, share_usd, start_cost, violations
from control_plane.placement.problem import Fit, Problem, Want

_MARKETS: tuple[Market, ...] = ("spot", "spot", "on-demand")
_EVERYTHING = 1e6


@st.composite
def _problems(draw: st.DrawFn) -> Problem:
    offers, fits, running = {}, {}, {}
    for number, market in enumerate(_MARKETS):
        pool = Pool(f"g{number}.xlarge", "r-1a", market)
        usd = draw(st.floats(0.1, 5.0))
        offers[pool] = Offer(pool, "r-1", "L4", 4, 1 << 34, 16, usd)
        fits[pool] = Fit(pool, draw(st.sampled_from([1, 2])), draw(st.floats(0.7, 3.0)))
        running[pool] = draw(st.integers(0, 2))
    want = Want(
        "chat",
        draw(st.floats(0.5, 5.0)),
        fits,
        kept_share=draw(st.sampled_from([0.0, 0.5, 0.8])),
        max_replicas=draw(st.sampled_from([4, 1000])),
        running=running,
        start_usd=draw(st.sampled_from([0.0, 0.05])),
    )
    return Problem(offers, [want])


def _meets(problem: Problem, counts: dict[Pool, int]) -> bool:
    return not violations(problem, Plan(counts, {"chat": counts}, 0.0))


def _by_trying(problem: Problem) -> dict[tuple[int, ...], float]:
    """Every cover that no replica can be left out of, and its dollars."""
    pools = sorted(problem.offers)
    found = {}
    for tried in product(range(9), repeat=len(pools)):
        counts = {pool: count for pool, count in zip(pools, tried, strict=True) if count}
        fewer = ({**counts, pool: count - 1} for pool, count in counts.items())
        if _meets(problem, counts) and not any(_meets(problem, less) for less in fewer):
            fits = problem.wants[0].fits
            usd = sum(share_usd(problem, fits[pool]) * count for pool, count in counts.items())
            found[tried] = usd + start_cost(problem, {"chat": counts})
    return found


def _listed(problem: Problem, within_usd: float) -> dict[tuple[int, ...], float]:
    want = problem.wants[0]
    each = covers(problem, want, list(want.fits.values()), problem.slot_usd, within_usd)
    order = sorted(range(len(each.fits)), key=lambda column: each.fits[column].pool)
    rows = (tuple(int(row[column]) for column in order) for row in each.counts)
    return dict(zip(rows, each.usd.tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(problem=_problems())
def test_all_covers_are_listed_with_their_cost(problem: Problem) -> None:
    assert _listed(problem, _EVERYTHING) == pytest.approx(_by_trying(problem))


@settings(max_examples=25, deadline=None)
@given(problem=_problems(), within=st.floats(0.0, 2.0))
def test_what_is_much_dearer_than_the_cheapest_is_left_out(problem: Problem, within: float) -> None:
    tried = _by_trying(problem)
    listed = _listed(problem, within)
    limit = min(tried.values(), default=0.0) + within
    assert set(listed) <= set(tried)
    assert {cover for cover, usd in tried.items() if usd < limit - 1e-9} <= set(listed)


def test_what_stays_is_part_of_every_cover() -> None:
    pool = Pool("g1.xlarge", "r-1a", "on-demand")
    other = Pool("g2.xlarge", "r-1a", "on-demand")
    offers = {each: Offer(each, "r-1", "L4", 1, 1 << 34, 4, 1.0) for each in (pool, other)}
    fits = {each: Fit(each, 1, 1.0) for each in offers}
    want = Want("chat", 3.0, fits, kept_share=0.0, running={pool: 2})
    problem = replace(Problem(offers, [want]), moves=False)
    assert set(_listed(problem, _EVERYTHING)) == {(2, 1), (3, 0)}
