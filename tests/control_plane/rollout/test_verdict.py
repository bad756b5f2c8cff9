"""The tests that condemn a revision, and how seldom they condemn a good one."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest, fisher_exact

from control_plane.rollout.counts import Counts
from control_plane.rollout.significance import binomial, fisher
from control_plane.rollout.strategy import Kind, RollbackOn, Strategy
from control_plane.rollout.verdict import ALPHA, Fault, judge

ERRORS = Strategy(Kind.CANARY, rollback_on=RollbackOn.ERRORS)
SLO = Strategy(Kind.CANARY, rollback_on=RollbackOn.SLO, attainment=0.9)


@pytest.mark.parametrize(
    ("worse", "of", "base_worse", "base_of"),
    [(0, 20, 0, 20), (3, 20, 1, 400), (20, 20, 400, 400), (7, 9, 3, 5000), (1, 1, 0, 1)],
)
def test_fishers_test_agrees_with_scipys(
    worse: int, of: int, base_worse: int, base_of: int
) -> None:
    table = [[worse, of - worse], [base_worse, base_of - base_worse]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert fisher(worse, of, base_worse, base_of) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("worse", "of", "allowed"), [(0, 5, 0.1), (3, 20, 0.01), (50, 50, 0.5)])
def test_the_binomial_test_agrees_with_scipys(worse: int, of: int, allowed: float) -> None:
    expected = binomtest(worse, of, allowed, alternative="greater").pvalue
    assert binomial(worse, of, allowed) == pytest.approx(expected, rel=1e-6)


def test_a_revision_as_good_as_the_old_one_is_hardly_ever_condemned() -> None:
    condemned = sum(_condemned(seed, 0.05) for seed in range(400))
    assert condemned <= 400 * ALPHA * 2


def test_a_revision_that_fails_three_times_in_ten_is_nearly_always_condemned() -> None:
    assert sum(_condemned(seed, 0.3) for seed in range(100)) >= 95


def _condemned(seed: int, error_rate: float) -> bool:
    """A step of 320 requests to the new revision beside 1,280 to the old, looked at when due."""
    draw, looks = random.Random(seed), 0
    old_errors = new_errors = 0
    for asked in range(1, 321):
        new_errors += draw.random() < error_rate
        old_errors += sum(draw.random() < 0.05 for _ in range(4))
        old, new = Counts(4 * asked, old_errors), Counts(asked, new_errors)
        verdict = judge(ERRORS, old, new, looks, final=asked == 320)
        if verdict.fault is not None:
            return True
        looks += verdict.looked
    return False


def test_without_an_old_one_to_compare_with_one_in_twenty_may_fail() -> None:
    assert judge(ERRORS, Counts(), Counts(40, 2), 0, final=False).fault is None
    assert judge(ERRORS, Counts(), Counts(40, 20), 0, final=False).fault is Fault.ERRORS


def test_an_slo_missed_more_often_than_allowed_and_than_by_the_old_one_condemns() -> None:
    old = Counts(400, 0, ttft=400, ttft_missed=10)
    missed = Counts(40, 0, ttft=40, ttft_missed=20)
    assert judge(SLO, old, missed, 0, final=False).fault is Fault.TTFT
    assert judge(ERRORS, old, missed, 0, final=False).fault is None
    tpot = Counts(40, 0, tpot=40, tpot_missed=20)
    assert judge(SLO, old, tpot, 0, final=False).fault is Fault.TPOT


def test_an_slo_that_the_old_one_misses_as_often_condemns_nobody() -> None:
    old = Counts(400, 0, ttft=400, ttft_missed=200)
    assert judge(SLO, old, Counts(40, 0, ttft=40, ttft_missed=20), 0, final=False).fault is None


def test_counts_of_a_redis_that_came_back_empty_begin_again() -> None:
    assert Counts(10, 1).since(Counts(4, 1)) == Counts(6, 0)
    assert Counts(3, 0).since(Counts(4, 1)) == Counts(3, 0)
