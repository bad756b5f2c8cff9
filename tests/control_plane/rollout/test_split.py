"""How many replicas each revision has while one replaces the other."""

from __future__ import annotations

import pytest

from control_plane.rollout.split import Running, Split, split
from control_plane.rollout.stage import Stage
from control_plane.rollout.strategy import Kind, Strategy
from infra.states import RolloutState

CANARY = Strategy(Kind.CANARY, steps=(5, 25, 100), step_s=60)
BLUE_GREEN = Strategy(Kind.BLUE_GREEN, step_s=60)


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (2, 0), (0, 1), (1, 1), (2, 1)])
@pytest.mark.parametrize("target", [1, 2, 5])
def test_replacing_keeps_within_what_may_be_missing_and_what_may_be_too_much(
    target: int, surge: int, unavailable: int
) -> None:
    strategy = Strategy(max_surge=surge, max_unavailable=unavailable)
    stable, ready = target, 0
    for _ in range(2 * target + 2):
        wanted = split(strategy, Stage(), target, Running(stable, stable, ready))
        assert wanted.stable + wanted.candidate <= target + max(surge, 1)
        assert wanted.stable + ready >= target - unavailable
        stable, ready = wanted.stable, wanted.candidate
    assert (stable, ready) == (0, target)


def test_an_old_replica_that_is_lost_while_it_is_replaced_is_not_started_again() -> None:
    assert split(Strategy(), Stage(), 3, Running(2, 2, 0)) == Split(2, 2)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (Stage(RolloutState.PREPARING, 0, 0), Split(10, 1)),
        (Stage(RolloutState.WATCHING, 0, 5), Split(10, 1)),
        (Stage(RolloutState.PREPARING, 1, 5), Split(10, 3)),
        (Stage(RolloutState.WATCHING, 1, 25), Split(8, 3)),
        (Stage(RolloutState.PREPARING, 2, 25), Split(8, 10)),
        (Stage(RolloutState.WATCHING, 2, 100), Split(1, 10)),
    ],
)
def test_a_canarys_replicas_come_before_its_traffic_and_the_old_ones_go_after_it(
    stage: Stage, expected: Split
) -> None:
    assert split(CANARY, stage, 10, Running(10, 10, 10)) == expected


def test_a_lost_old_replica_of_a_canary_is_started_again_while_it_has_a_share() -> None:
    stage = Stage(RolloutState.WATCHING, 0, 5)
    assert split(CANARY, stage, 4, Running(3, 3, 1)) == Split(4, 1)


def test_blue_green_has_both_whole_until_the_old_one_goes() -> None:
    running = Running(3, 3, 3)
    assert split(BLUE_GREEN, Stage(), 3, running) == Split(3, 3)
    assert split(BLUE_GREEN, Stage(RolloutState.WATCHING, 0, 100), 3, running) == Split(3, 3)


def test_what_blue_green_keeps_for_a_way_back_is_not_started_again() -> None:
    assert split(BLUE_GREEN, Stage(RolloutState.WATCHING, 0, 100), 3, Running(1, 1, 3)) == Split(
        1, 3
    )


@pytest.mark.parametrize("strategy", [Strategy(), CANARY, BLUE_GREEN])
def test_at_zero_neither_revision_has_a_replica(strategy: Strategy) -> None:
    assert split(strategy, Stage(), 0, Running(1, 1, 1)) == Split(0, 0)
