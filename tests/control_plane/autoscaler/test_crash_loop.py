"""Backing off from replicas that fail before they are ready."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.autoscaler.crash_loop import CrashPolicy, Failures, given_up, wait_s

POLICY = CrashPolicy(first_wait_s=1.0, longest_wait_s=60.0, limit=5)


@pytest.mark.parametrize(
    ("failures", "expected_s"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (99999, 60)]
)
def test_the_wait_doubles_up_to_its_limit(failures: int, expected_s: float) -> None:
    assert wait_s(failures, POLICY) == expected_s


@given(st.integers(0, 10_000))
def test_another_failure_never_shortens_the_wait(failures: int) -> None:
    assert wait_s(failures + 1, POLICY) >= wait_s(failures, POLICY)


def test_it_gives_up_at_the_limit_and_not_before() -> None:
    found = [given_up(Failures(count), POLICY) for count in (0, 4, 5, 6)]
    assert found == [False, False, True, True]


def test_it_gives_up_earlier_where_starts_have_cost_enough() -> None:
    capped = CrashPolicy(limit=5, limit_usd=10.0)
    assert not given_up(Failures(2, usd=9.99), capped)
    assert given_up(Failures(2, usd=10.0), capped)
