"""Nobody pays many times the ordinary price without having said so."""

from __future__ import annotations

from control_plane.placement.moderation import DEAREST, immoderate
from control_plane.placement.offer import Market, Offer, Pool
from control_plane.placement.problem import Fit


def offers(*sold: tuple[str, Market, int, float]) -> dict[Pool, Offer]:
    pools = {Pool(name, "z-1a", market): (devices, usd) for name, market, devices, usd in sold}
    return {
        pool: Offer(pool, "z-1", "L4", devices, 1 << 34, 4 * devices, usd)
        for pool, (devices, usd) in pools.items()
    }


def refused(sold: dict[Pool, Offer], demand: int, running: tuple[Pool, ...] = ()) -> set[str]:
    fits = {pool: Fit(pool, 1, 1.0) for pool in sold}
    return {pool.instance_type for pool in immoderate(sold, fits, demand, running)}


SOLD = offers(
    ("small", "on-demand", 1, 1.0),
    ("large", "on-demand", 8, 8.0),
    ("huge", "on-demand", 8, 8.0 * DEAREST + 1),
    ("rare", "spot", 1, DEAREST + 1),
)


def test_what_costs_many_times_the_ordinary_is_refused_with_the_numbers() -> None:
    assert refused(SOLD, demand=1) == {"huge", "rare"}
    [reason, _] = immoderate(SOLD, {pool: Fit(pool, 1, 1.0) for pool in SOLD}, 1).values()
    assert "$65.00" in reason and "$1.00" in reason and "max_usd_per_hour" in reason


def test_a_large_machine_that_is_used_whole_is_no_luxury() -> None:
    sold = offers(("small", "on-demand", 1, 1.0), ("large", "on-demand", 8, 16.0))
    assert refused(sold, demand=1) == {"large"}
    assert refused(sold, demand=8) == set()


def test_where_it_runs_already_it_may_stay() -> None:
    [rare] = [pool for pool in SOLD if pool.instance_type == "rare"]
    assert refused(SOLD, 1, running=(rare,)) == {"huge"}


def test_where_nothing_is_sold_on_demand_nothing_is_ordinary() -> None:
    spot = {pool: offer for pool, offer in SOLD.items() if pool.market == "spot"}
    assert refused(spot, 1) == set()
