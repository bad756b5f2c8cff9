"""Phases on a clock that the test moves."""

from __future__ import annotations

from infra.starts import Phase, Tier
from worker.agent.start_clock import FirstToken, StartClock


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_phase_ends_where_the_next_one_begins() -> None:
    now = Clock()
    clock = StartClock(now)
    clock.enter(Phase.FETCH)
    now.now_s = 2.0
    clock.enter(Phase.LOAD)
    now.now_s = 5.0
    clock.end()
    now.now_s = 9.0
    assert clock.report().phases_s == {"fetch": 2.0, "load": 3.0}


def test_a_phase_that_is_entered_again_goes_on() -> None:
    now = Clock()
    clock = StartClock(now)
    for phase in (Phase.LOAD, Phase.WARM, Phase.LOAD):
        clock.enter(phase)
        now.now_s += 1.0
    clock.end()
    assert clock.report().phases_s == {"load": 2.0, "warm": 1.0}


def test_a_share_of_a_phase_was_another_one() -> None:
    now = Clock()
    clock = StartClock(now)
    clock.enter(Phase.LOAD)
    now.now_s = 4.0
    clock.end()
    clock.split(Phase.LOAD, Phase.VERIFY, 0.25)
    assert clock.report().phases_s == {"load": 3.0, "verify": 1.0}


def test_the_tier_is_the_furthest_that_bytes_came_from() -> None:
    clock = StartClock(Clock(), wakes=3)
    clock.read(Tier.STORE, 10)
    clock.read(Tier.DISK, 5)
    report = clock.report()
    assert (report.tier, report.bytes_by_tier) == ("store", {"store": 10, "disk": 5})
    assert report.wakes == 3


def test_time_without_a_job_is_no_part_of_the_first_token() -> None:
    first = FirstToken(1.0)
    first.nothing_waits(100.0)
    assert first.said(101.5) == 1.5
