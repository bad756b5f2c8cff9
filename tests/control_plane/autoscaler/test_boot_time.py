"""How long the next start will take."""

from __future__ import annotations

from control_plane.autoscaler.boot_time import FEW, PRIOR, boot_time
from control_plane.controller.boot_times import next_boot_time
from control_plane.store.repositories.starts import BootSample


def test_of_a_revision_that_never_started_the_prior_is_believed() -> None:
    assert boot_time([]) == PRIOR


def test_the_p90_of_few_starts_is_at_least_twice_the_median() -> None:
    found = boot_time([4.0] * (FEW - 1))
    assert (found.p50_s, found.p90_s, found.starts) == (4.0, 8.0, FEW - 1)


def test_many_starts_speak_for_themselves() -> None:
    found = boot_time([float(each) for each in range(11)])
    assert (found.p50_s, found.p90_s, found.starts) == (5.0, 9.0, 11)


def test_the_next_start_is_like_the_last_of_its_kind() -> None:
    samples = [
        BootSample("a10", "disk", woken=False, seconds=5.0),
        BootSample("a10", "memory", woken=True, seconds=0.1),
        BootSample("a10", "store", woken=False, seconds=300.0),
    ]
    assert next_boot_time(samples, asleep=False).p50_s == 5.0
    assert next_boot_time(samples, asleep=True).p50_s == 0.1


def test_before_the_first_wake_other_starts_are_the_best_guess() -> None:
    samples = [BootSample("a10", "disk", woken=False, seconds=5.0)]
    assert next_boot_time(samples, asleep=True).p50_s == 5.0
