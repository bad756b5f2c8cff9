"""The policy that follows from a stored spec at a moment."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from control_plane.autoscaler.boot_time import PRIOR, boot_time
from control_plane.controller.scaling_spec import scaling_policy

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC).timestamp()
SPEC = {
    "scaling": {
        "max_replicas": 4,
        "schedule": [{"cron": "0 9 * * *", "duration_s": 3600.0, "min_replicas": 2}],
    }
}


def scheduled(before_s: float, ahead_s: float, target: int) -> int:
    return scaling_policy(SPEC, {}, NINE - before_s, ahead_s, target).scheduled


def test_a_first_start_that_is_shorter_than_believed_gives_nothing_back() -> None:
    """Until it is measured a start is believed to be long, so it is asked for early."""
    assert scheduled(PRIOR.p90_s, PRIOR.p90_s, target=0) == 2
    measured = boot_time([5.0, 6.0]).p90_s
    assert measured < 90.0
    assert scheduled(90.0, measured, target=2) == 2
    assert scheduled(90.0, measured, target=1) == 1, "and nothing more is asked for before its time"


@pytest.mark.parametrize(("before_s", "kept"), [(599.0, 2), (601.0, 0)])
def test_starts_that_become_shorter_give_nothing_back_either(before_s: float, kept: int) -> None:
    assert scheduled(before_s, 300.0, target=2) == kept


def test_what_demand_had_asked_for_beyond_a_schedule_is_not_kept_by_it() -> None:
    assert scheduled(60.0, 5.0, target=4) == 2
