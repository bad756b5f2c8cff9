"""The join limit follows from joins that were measured."""

from __future__ import annotations

import pytest

from control_plane.controller.join_limit import join_limit_s


@pytest.mark.parametrize(
    ("joins_s", "expected_s"),
    [
        ([], 900.0),
        ([10.0, 20.0], 900.0),
        ([10.0, 20.0, 15.0], 180.0),
        ([60.0, 70.0, 100.0, 80.0], 400.0),
        ([60.0, 70.0, 3000.0], 1800.0),
    ],
)
def test_it_is_four_times_the_slowest_within_bounds_once_a_few_are_known(
    joins_s: list[float], expected_s: float
) -> None:
    assert join_limit_s(joins_s) == expected_s
