from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.placement.availability import Availability

_HOUR_S = 3600.0


def _refused(times: int) -> Availability:
    pool = Availability()
    for _ in range(times):
        pool = pool.launched(0.0, succeeded=False)
    return pool


def test_a_pool_that_nobody_tried_is_likely_to_be_there() -> None:
    assert Availability().launch_share(0.0) == pytest.approx(0.9)
    assert Availability().losses_per_hour(0.0) == pytest.approx(0.05)


def test_refusals_make_the_next_one_likely() -> None:
    shares = [_refused(times).launch_share(0.0) for times in range(6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.3


def test_a_refusal_is_forgotten_in_hours_not_weeks() -> None:
    pool = _refused(5)
    assert pool.launch_share(0.0) < pool.launch_share(2 * _HOUR_S) < 0.6
    assert pool.launch_share(24 * _HOUR_S) == pytest.approx(0.9, abs=0.01)


def test_losses_count_against_the_hours_that_instances_ran() -> None:
    quiet = Availability().ran(0.0, hours=200)
    stormy = quiet.lost(0.0, instances=40)
    assert quiet.losses_per_hour(0.0) < 0.01
    assert stormy.losses_per_hour(0.0) == pytest.approx(41.2 / 224)


@settings(deadline=None)
@given(
    events=st.lists(
        st.tuples(st.floats(-1e4, 1e6), st.sampled_from(["ok", "no", "ran", "lost"])), max_size=60
    ),
    now_s=st.floats(0, 1e6),
)
def test_whatever_happens_in_whatever_order_it_stays_a_share_and_a_rate(
    events: list[tuple[float, str]], now_s: float
) -> None:
    pool = Availability()
    for at_s, what in events:
        if what == "ran":
            pool = pool.ran(at_s, 1.0)
        elif what == "lost":
            pool = pool.lost(at_s)
        else:
            pool = pool.launched(at_s, what == "ok")
    assert 0 < pool.launch_share(now_s) <= 1
    assert pool.losses_per_hour(now_s) > 0
