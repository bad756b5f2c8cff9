"""States change only as their tables say."""

from __future__ import annotations

import pytest

from infra.states import (
    DeploymentState,
    IllegalTransition,
    InstanceState,
    JobState,
    ReplicaState,
    RolloutState,
    advance,
    following,
    is_final,
)


@pytest.mark.parametrize(
    "kind", [DeploymentState, RolloutState, ReplicaState, InstanceState, JobState]
)
def test_every_state_has_a_way_to_an_end(kind: type[JobState]) -> None:
    for state in kind:
        reached, frontier = {state}, {state}
        while frontier:
            frontier = {after for each in frontier for after in following(each)} - reached
            reached |= frontier
        assert any(is_final(each) for each in reached), state


def test_a_step_of_the_table_is_taken() -> None:
    assert advance(ReplicaState.LOADING, ReplicaState.READY) is ReplicaState.READY


def test_staying_is_always_allowed() -> None:
    assert advance(JobState.COMPLETED, JobState.COMPLETED) is JobState.COMPLETED


def test_a_step_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(IllegalTransition, match="completed cannot become queued"):
        advance(JobState.COMPLETED, JobState.QUEUED)
