"""The judge of histories: a sound one passes, every doctored one fails."""

from __future__ import annotations

import pytest

from infra.states import JobState
from loadtests.chaos.history import Accepted, Delivered, Ended, Event, check

SOUND: list[Event] = [
    Accepted("a"),
    Delivered("a", "c1", 1, 0),
    Delivered("a", "c1", 1, 1),
    Accepted("b"),
    Delivered("a", "c1", 2, 2),
    Ended("a", JobState.COMPLETED, "stop"),
    Ended("b", JobState.FAILED, "max_attempts"),
]


def test_a_sound_history_breaks_no_promise() -> None:
    assert check(SOUND) == []


def test_jobs_under_way_are_forgiven_until_the_history_is_whole() -> None:
    assert check(SOUND[:4], whole=False) == []
    assert check(SOUND[:4]) != []


@pytest.mark.parametrize(
    ("doctored", "said"),
    [
        ([*SOUND, Accepted("c")], "c was accepted and lost"),
        ([*SOUND, Ended("a", JobState.COMPLETED)], "a ended 2 times"),
        ([*SOUND, Ended("d", JobState.EXPIRED)], "d ended and was never accepted"),
        ([*SOUND[:3], SOUND[2], *SOUND[3:]], "index 1 came twice"),
        ([*SOUND[:2], *SOUND[3:]], "indexes 1 to 1 are missing"),
        ([*SOUND[:5], Delivered("a", "c1", 1, 3), *SOUND[5:]], "attempt 1 spoke after"),
        ([*SOUND, Delivered("a", "c1", 2, 3)], "came after the end"),
        ([*SOUND[:-1], Ended("b", JobState.FAILED)], "failed without a reason"),
        ([*SOUND[:-1], Ended("b", JobState.ORPHANED, "x")], "is no end"),
    ],
)
def test_a_doctored_history_is_told_apart(doctored: list[Event], said: str) -> None:
    assert any(said in violation for violation in check(doctored)), check(doctored)
