"""Which deployment a load test takes."""

from __future__ import annotations

from loadtests.traffic.choice import choose


def test_a_ready_deployment_is_preferred_to_an_earlier_one_at_zero() -> None:
    choice = choose(["a", "b", "c"], "", {"b": 1, "c": 1})
    assert choice.model == "b"
    assert choice.said == (
        "b (of 3 deployments the first with the most ready replicas); 1 replica is ready"
    )


def test_a_wanted_deployment_is_taken_and_its_cold_start_announced() -> None:
    choice = choose(["a", "b"], "a", {"b": 2})
    assert choice.model == "a"
    assert "the first request is a cold start" in choice.said


def test_where_all_are_at_zero_the_first_is_taken_and_its_cold_start_announced() -> None:
    choice = choose(["a", "b"], "", {})
    assert choice.model == "a"
    assert "the first request is a cold start" in choice.said


def test_a_server_that_does_not_tell_gives_no_promise() -> None:
    choice = choose(["a", "b"], "", None)
    assert choice.model == "a"
    assert "perhaps a cold start" in choice.said
