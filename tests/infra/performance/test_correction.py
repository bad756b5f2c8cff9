from __future__ import annotations

import math
from random import Random

import pytest

from infra.performance.correction import Correction
from infra.performance.step_time import StepTime

_PRIOR = StepTime(0.006, 1e-5, 4e-8, 0.005, 1.3e-5, 1e-9)
_TRUTH = StepTime(0.009, 3e-5, 3e-8, 0.008, 2.0e-5, 3e-9)


def _taught(steps: int, noise: float = 0.05) -> Correction:
    random, correction = Random(1), Correction(_PRIOR)
    for _ in range(steps):
        batch, context = random.randint(1, 128), random.randint(100, 4000)
        seconds = _TRUTH.decode(batch, batch * context) * random.gauss(1, noise)
        correction.see_decode(batch, batch * context, seconds)
        tokens, before = random.randint(16, 2048), random.randint(0, 4096)
        seconds = _TRUTH.prefill(tokens, before) * random.gauss(1, noise)
        correction.see_prefill(tokens, before, seconds)
    return correction


def test_unmeasured_it_is_the_prior() -> None:
    assert Correction(_PRIOR).time == _PRIOR


@pytest.mark.parametrize(("batch", "context"), [(1, 500), (16, 2000), (128, 1000)])
def test_it_follows_what_is_measured(batch: int, context: int) -> None:
    time = _taught(100).time
    expected = _TRUTH.decode(batch, batch * context)
    assert time.decode(batch, batch * context) == pytest.approx(expected, rel=0.05)
    assert time.prefill(1000) == pytest.approx(_TRUTH.prefill(1000), rel=0.08)


def test_a_few_steps_already_halve_the_error() -> None:
    time, expected = _taught(5).time, _TRUTH.decode(32, 32_000)
    wrong = abs(_PRIOR.decode(32, 32_000) - expected)
    assert abs(time.decode(32, 32_000) - expected) < wrong / 2


def test_what_never_ran_keeps_the_shape_of_the_prior() -> None:
    correction = Correction(_PRIOR)
    for _ in range(500):
        correction.see_decode(1, 500, 2 * _PRIOR.decode(1, 500))
    alone = correction.time.decode(1, 500)
    assert alone == pytest.approx(2 * _PRIOR.decode(1, 500), rel=0.02)
    many = correction.time.decode(64, 64_000)
    assert alone < many < 10 * _PRIOR.decode(64, 64_000)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0, -1.0, 60.0])
def test_what_cannot_be_is_ignored(seconds: float) -> None:
    correction = Correction(_PRIOR)
    correction.see_decode(8, 8000, seconds)
    correction.see_decode(0, 0, 0.01)
    assert correction.time == _PRIOR
    assert correction.observations == 0


def test_it_stays_finite_and_positive_under_any_order_of_steps() -> None:
    correction = Correction(_PRIOR)
    random = Random(3)
    for _ in range(5000):
        correction.see_decode(1, 10, _PRIOR.decode(1, 10) * random.uniform(0.06, 19))
    time = correction.time
    assert 0 < time.decode(256, 10**6) < math.inf


@pytest.mark.parametrize("seed", range(3))
def test_the_same_step_for_hours_leaves_it_able_to_learn_another(seed: int) -> None:
    prior = StepTime(0.006, 4e-4, 4e-7, 0.005, 1.3e-5, 1e-9)
    correction, random = Correction(prior), Random(seed)

    def see(batch: int) -> None:
        seconds = 1.3 * prior.decode(batch, 1000 * batch) * random.uniform(0.9, 1.1)
        correction.see_decode(batch, 1000 * batch, seconds)

    def ratio(batch: int) -> float:
        return correction.time.decode(batch, 1000 * batch) / prior.decode(batch, 1000 * batch)

    for _ in range(5000):
        see(8)
    assert ratio(8) == pytest.approx(1.3, rel=0.02)
    assert ratio(32) == pytest.approx(1.3, rel=0.15), "what never ran keeps the prior's shape"
    for _ in range(50):
        see(random.choice([8, 32]))
    assert ratio(32) == pytest.approx(1.3, rel=0.05)


@pytest.mark.parametrize("times", [1 / 100, 1 / 15, 15.0, 100.0])
def test_a_device_that_is_nothing_like_its_prior_is_learned_all_the_same(times: float) -> None:
    """What no data sheet describes: a pause is seen once, and such a step again and again."""
    correction, random = Correction(_PRIOR), Random(5)
    for _ in range(100):
        batch = random.randint(1, 32)
        seconds = times * _PRIOR.decode(batch, 500 * batch) * random.uniform(0.9, 1.1)
        correction.see_decode(batch, 500 * batch, seconds)
        correction.see_prefill(100 * batch, 0, times * _PRIOR.prefill(100 * batch))
    time = correction.time
    assert time.decode(8, 4000) == pytest.approx(times * _PRIOR.decode(8, 4000), rel=0.1)
    assert time.prefill(500) == pytest.approx(times * _PRIOR.prefill(500), rel=0.1)
    assert correction.observations > 100
