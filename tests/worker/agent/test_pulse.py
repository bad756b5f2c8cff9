"""When an engine counts as alive, and how much work it should be given."""

from __future__ import annotations

from worker.agent.capacity import UNLIMITED_TOKENS, free_capacity
from worker.agent.pulse import Pulse
from worker.engine.messages import Stats


def test_an_engine_is_alive_for_its_patience_after_each_step() -> None:
    pulse = Pulse(patience_s=2.0, now_s=0.0)
    pulse.step_ended(10.0)
    assert pulse.alive(11.9)
    assert not pulse.alive(12.0)


def test_a_declared_long_step_keeps_an_engine_alive_up_to_its_bound() -> None:
    pulse = Pulse(patience_s=2.0, now_s=0.0)
    pulse.expect_long_step(30.0, now_s=1.0)
    assert pulse.alive(30.9)
    assert not pulse.alive(31.0)


def test_the_end_of_a_long_step_ends_its_bound() -> None:
    pulse = Pulse(patience_s=2.0, now_s=0.0)
    pulse.expect_long_step(30.0, now_s=1.0)
    pulse.step_ended(5.0)
    assert not pulse.alive(7.0)


def test_new_work_does_not_shorten_a_declared_step() -> None:
    pulse = Pulse(patience_s=2.0, now_s=0.0)
    pulse.expect_long_step(30.0, now_s=1.0)
    pulse.work_given(2.0)
    assert pulse.alive(30.0)


def test_an_engine_that_was_idle_is_given_patience_with_its_first_job() -> None:
    pulse = Pulse(patience_s=2.0, now_s=0.0)
    pulse.work_given(100.0)
    assert pulse.alive(101.9)


def test_a_replica_asks_for_free_slots_and_a_small_margin() -> None:
    stats = Stats(max_running=16, kv_tokens_total=1000, kv_tokens_used=300)
    assert free_capacity(stats, held_jobs=10, unstarted_tokens=100) == (8, 600)


def test_a_full_replica_asks_for_nothing() -> None:
    stats = Stats(max_running=4, kv_tokens_total=100, kv_tokens_used=100)
    assert free_capacity(stats, held_jobs=9, unstarted_tokens=50) == (0, 0)


def test_an_engine_that_names_no_cache_has_no_limit_of_tokens() -> None:
    assert free_capacity(Stats(max_running=1), 0, 0).tokens == UNLIMITED_TOKENS
