"""What a machine costs follows from times in rows, and every cent of it is somebody's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.ledger.billing import HOUR_S, Price, Span, billed, cost_usd
from control_plane.ledger.charge import NOBODY, Charge, Machine, Stay, charges
from control_plane.ledger.money import split

_T0 = 480_000 * HOUR_S
"""Some full hour."""

_moments = st.integers(0, 6 * HOUR_S).map(lambda s: float(_T0 + s))
_prices = st.lists(
    st.builds(Price, _moments, st.floats(0.0, 100.0, allow_nan=False)), min_size=1, max_size=4
)


@st.composite
def _machines(draw: st.DrawFn) -> Machine:
    begin, end = sorted((draw(_moments), draw(_moments)))
    return Machine(
        "i-1", begin, draw(st.sampled_from([end, None])), draw(st.integers(1, 8)), draw(_prices)
    )


@st.composite
def _stays(draw: st.DrawFn) -> Stay:
    begin, end = sorted((draw(_moments), draw(_moments)))
    return Stay(draw(st.sampled_from(["a", "b", "c"])), begin, draw(st.sampled_from([end, None])))


def _all(machine: Machine, stays: list[Stay], now: float) -> list[Charge]:
    return list(charges(machine, stays, 0, now))


def _machine(begin: float, end: float | None, usd: float = 3.6, **more: object) -> Machine:
    return Machine("i-1", begin, end, 1, [Price(begin, usd)], **more)  # type: ignore[arg-type]


def test_a_machine_is_billed_by_the_second() -> None:
    [charge] = _all(_machine(_T0, _T0 + 100), [], _T0 + HOUR_S)
    assert (charge.seconds, charge.machine_micros) == (100.0, 100_000)


def test_the_first_minute_is_owed_whole() -> None:
    [charge] = _all(_machine(_T0, _T0 + 7), [], _T0 + HOUR_S)
    assert (charge.seconds, charge.machine_micros) == (60.0, 60_000)


def test_a_minute_that_begins_in_one_hour_is_owed_in_the_next_too() -> None:
    found = _all(_machine(_T0 + HOUR_S - 20, _T0 + HOUR_S - 10), [], _T0 + 2 * HOUR_S)
    assert [each.seconds for each in found] == [20.0, 40.0]


def test_the_minute_that_is_owed_before_it_has_passed_is_his_who_is_there() -> None:
    launched_at = _T0 + HOUR_S - 20
    found = _all(_machine(launched_at, None), [Stay("chat", launched_at, None)], launched_at + 5)
    assert [each.seconds for each in found] == [20.0, 40.0]
    assert [share.deployment_id for each in found for share in each.shares] == ["chat", "chat"]


def test_each_second_costs_the_price_that_held_then() -> None:
    prices = [Price(0, 1.0), Price(_T0 + 900, 2.0), Price(_T0 + 1800, 4.0)]
    assert cost_usd(Span(_T0, _T0 + HOUR_S), prices) == pytest.approx(0.25 + 0.5 + 2.0)


def test_disks_and_addresses_are_charged_beside_the_machine() -> None:
    [charge] = _all(_machine(_T0, _T0 + 1000, extra_usd_per_hour=0.36), [], _T0 + HOUR_S)
    assert (charge.machine_micros, charge.extra_micros) == (1_000_000, 100_000)
    assert sum(each.idle_micros for each in charge.shares) == 1_100_000


def test_what_no_replica_used_is_told_apart() -> None:
    machine = Machine("i-1", _T0, _T0 + 1000, 2, [Price(_T0, 3.6)])
    [charge] = _all(machine, [Stay("chat", _T0, None)], _T0 + HOUR_S)
    [share] = charge.shares
    assert (share.deployment_id, share.used_micros, share.idle_micros) == ("chat", 500_000, 500_000)


def test_a_machine_that_nobody_used_is_nobodys_or_his_for_whom_it_stays() -> None:
    [alone] = _all(_machine(_T0, _T0 + 100), [], _T0 + HOUR_S)
    [kept] = _all(_machine(_T0, _T0 + 100, kept_for="chat"), [], _T0 + HOUR_S)
    assert [each.deployment_id for each in (*alone.shares, *kept.shares)] == [NOBODY, "chat"]


def test_hours_in_which_a_machine_stands_empty_are_his_who_left_it_last() -> None:
    left = [Stay("early", _T0, _T0 + 60.0), Stay("late", _T0, _T0 + 90.0)]
    after = Stay("after", _T0 + 2 * HOUR_S, None)
    found = _all(_machine(_T0, None), [*left, after], _T0 + 3 * HOUR_S)
    owners = [[share.deployment_id for share in each.shares] for each in found]
    assert owners == [["early", "late"], ["late"], ["after"]]
    assert [share.used_micros for share in found[1].shares] == [0]


@given(_machines(), st.lists(_stays(), max_size=6), _moments)
def test_shares_are_the_whole_charge(machine: Machine, stays: list[Stay], now: float) -> None:
    for each in _all(machine, stays, now):
        shared = sum(share.used_micros + share.idle_micros for share in each.shares)
        assert shared == each.machine_micros + each.extra_micros
        assert all(share.used_micros >= 0 <= share.idle_micros for share in each.shares)


@given(_machines(), st.lists(_stays(), max_size=6), _moments, _moments)
def test_metering_later_or_again_finds_the_same_for_hours_that_are_over(
    machine: Machine, stays: list[Stay], first: float, second: float
) -> None:
    early, late = sorted((first, second))
    past = {each.hour: each for each in _all(machine, stays, early)}
    for each in _all(machine, stays, late):
        if each.hour + HOUR_S <= early:
            assert past[each.hour] == each


@given(_machines(), _moments)
def test_the_hours_add_up_to_what_is_billed(machine: Machine, now: float) -> None:
    found = _all(machine, [], now)
    span = billed(machine.launched_at, machine.ended_at, now)
    assert sum(each.seconds for each in found) == pytest.approx(span.seconds)
    exact = cost_usd(span, machine.prices)
    assert sum(each.machine_micros for each in found) == pytest.approx(exact * 1e6, abs=len(found))


@given(
    st.integers(0, 10**12),
    st.dictionaries(st.text(max_size=3), st.integers(0, 10**9), min_size=1, max_size=8),
)
def test_parts_add_up_to_what_was_split_and_are_a_millionth_off_at_most(
    total: int, weights: dict[str, int]
) -> None:
    parts = split(total, weights)
    assert sum(parts.values()) == total
    whole = sum(weights.values())
    for name, part in parts.items():
        if whole:
            assert abs(part * whole - total * weights[name]) < whole
