"""What makes a rollout go on, wait, end or go back."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.rollout.counts import Counts
from control_plane.rollout.stage import Stage
from control_plane.rollout.step import Reason, RolloutSeen, next_step
from control_plane.rollout.strategy import Kind, RollbackOn, Strategy
from infra.states import RolloutState

CANARY = Strategy(Kind.CANARY, steps=(5, 25, 100), step_s=60)
JUDGED = Strategy(Kind.CANARY, steps=(5, 100), step_s=60, rollback_on=RollbackOn.ERRORS)
BLUE_GREEN = Strategy(Kind.BLUE_GREEN, step_s=300)
FIRST_SHARE = Stage(RolloutState.WATCHING, 0, 5)


def seen(**changes: Any) -> RolloutSeen:
    return RolloutSeen(**{"stage_s": 1.0, "target": 4, "ready": 1, "failed_starts": 0, **changes})


def told(strategy: Strategy, stage: Stage, facts: RolloutSeen) -> tuple[str, Stage] | None:
    move = next_step(strategy, stage, facts)
    return None if move is None else (move.reason.value, move.stage)


def test_traffic_comes_when_the_replicas_of_the_step_are_ready_and_not_before() -> None:
    assert told(CANARY, Stage(), seen(ready=0)) is None
    assert told(CANARY, Stage(), seen()) == ("traffic_shifted", FIRST_SHARE)


def test_a_step_lasts_its_time() -> None:
    assert told(CANARY, FIRST_SHARE, seen(stage_s=59.9)) is None
    following = Stage(RolloutState.PREPARING, 1, 5)
    assert told(CANARY, FIRST_SHARE, seen(stage_s=60.0)) == ("step_passed", following)


def test_a_step_that_nobody_asked_says_so() -> None:
    """It passes all the same, or a deployment that sleeps at night would never be rolled out."""
    old, new = Counts(requests=40), Counts()
    move = next_step(JUDGED, FIRST_SHARE, seen(stage_s=60.0, stable=old, candidate=new))
    assert move is not None
    assert (move.reason, move.formula) == (
        Reason.PASSED,
        "watched 60 s of 60 s; nobody asked the new revision",
    )


def test_enough_requests_end_a_step_before_its_time() -> None:
    strategy = Strategy(Kind.CANARY, steps=(5, 100), step_s=60, step_requests=100)
    few, enough = Counts(requests=99), Counts(requests=100)
    assert told(strategy, FIRST_SHARE, seen(stable=few, candidate=few)) is None
    passed = told(strategy, FIRST_SHARE, seen(stable=few, candidate=enough))
    assert passed == ("step_passed", Stage(RolloutState.PREPARING, 1, 5))


def test_a_canary_goes_through_its_steps_to_all_of_the_traffic() -> None:
    stage, reasons = Stage(), []
    while stage.state in (RolloutState.PREPARING, RolloutState.WATCHING):
        move = next_step(CANARY, stage, seen(stage_s=60.0, ready=4))
        assert move is not None
        stage = move.stage
        reasons.append((move.reason.value, stage.percent))
    shifted, passed = "traffic_shifted", "step_passed"
    assert reasons == [
        (shifted, 5),
        (passed, 5),
        (shifted, 25),
        (passed, 25),
        (shifted, 100),
        ("finished", 100),
    ]


def test_blue_green_shifts_all_at_once_and_keeps_the_old_for_its_time() -> None:
    assert told(BLUE_GREEN, Stage(), seen(ready=3)) is None
    holding = Stage(RolloutState.WATCHING, 0, 100)
    assert told(BLUE_GREEN, Stage(), seen(ready=4)) == ("traffic_shifted", holding)
    assert told(BLUE_GREEN, holding, seen(ready=4, stage_s=299.0)) is None
    finished = told(BLUE_GREEN, holding, seen(ready=4, stage_s=300.0))
    assert finished == ("finished", Stage(RolloutState.FINISHED, 0, 100))


def test_replacing_ends_when_all_of_the_new_are_ready() -> None:
    assert told(Strategy(), Stage(), seen(ready=3)) is None
    assert told(Strategy(), Stage(), seen(ready=4)) == (
        "finished",
        Stage(RolloutState.FINISHED, 0, 100),
    )


@pytest.mark.parametrize("strategy", [Strategy(), CANARY, BLUE_GREEN, JUDGED])
@pytest.mark.parametrize("stage", [Stage(), FIRST_SHARE, Stage(promoted=True)])
def test_a_revision_that_cannot_start_is_rolled_back(strategy: Strategy, stage: Stage) -> None:
    move = next_step(strategy, stage, seen(failed_starts=5, last_failure="out of memory"))
    assert move is not None
    assert (move.stage.state, move.reason) == (RolloutState.ROLLED_BACK, Reason.CANNOT_START)
    assert "5 starts in a row failed, the last: out of memory" in move.formula


@pytest.mark.parametrize("strategy", [Strategy(), CANARY, BLUE_GREEN, JUDGED])
def test_a_revision_that_gets_no_machine_is_rolled_back_in_the_end(strategy: Strategy) -> None:
    late = {"waiting_s": strategy.ready_limit_s + 1.0, "waits_for": "no capacity"}
    assert told(strategy, Stage(), seen(ready=0, waiting_s=strategy.ready_limit_s)) is None
    move = next_step(strategy, Stage(), seen(ready=0, **late))
    assert move is not None
    assert (move.stage.state, move.reason) == (RolloutState.ROLLED_BACK, Reason.NOT_READY)
    assert "waited 3601 s for its replicas (0 of " in move.formula
    assert "the limit is 3600 s: no capacity" in move.formula


def test_time_at_zero_and_time_while_enough_are_ready_is_no_waiting() -> None:
    assert told(CANARY, Stage(), seen(target=0, ready=0, stage_s=1e6)) is None
    assert told(CANARY, Stage(), seen(ready=0, stage_s=1e6)) is None
    enough = told(CANARY, Stage(), seen(ready=1, waiting_s=1e6))
    assert enough == ("traffic_shifted", FIRST_SHARE)
    assert told(CANARY, FIRST_SHARE, seen(ready=0, waiting_s=1e6)) is None


def test_at_zero_a_replacement_is_done_and_a_canary_waits() -> None:
    idle = seen(target=0, ready=0, stage_s=999.0)
    assert told(Strategy(), Stage(), idle) == ("nothing_runs", Stage(RolloutState.FINISHED, 0, 100))
    assert told(CANARY, Stage(), idle) is None
    asleep = Stage(RolloutState.PREPARING, 0, 5, watched_s=999.0)
    assert told(CANARY, FIRST_SHARE, idle) == ("asleep", asleep)


def test_a_step_goes_on_after_a_sleep_where_it_was() -> None:
    """Else a deployment that is asked in short bursts would never come to its end."""
    stage = FIRST_SHARE
    for _ in range(2):
        move = next_step(CANARY, stage, seen(target=0, ready=0, stage_s=25.0))
        assert move is not None
        awake = next_step(CANARY, move.stage, seen(stage_s=3600.0))
        assert awake is not None
        assert awake.reason is Reason.SHIFTED
        stage = awake.stage
    assert stage.watched_s == 50.0
    assert told(CANARY, stage, seen(stage_s=9.9)) is None
    following = Stage(RolloutState.PREPARING, 1, 5)
    assert told(CANARY, stage, seen(stage_s=10.0)) == ("step_passed", following)


def test_worse_than_the_old_one_it_is_rolled_back_with_the_numbers() -> None:
    bad = seen(stable=Counts(400, 2), candidate=Counts(20, 8))
    move = next_step(JUDGED, FIRST_SHARE, bad)
    assert move is not None
    assert (move.stage.state, move.reason) == (RolloutState.ROLLED_BACK, Reason.ERRORS)
    assert "8 of 20 requests failed, of the old 2 of 400" in move.formula
    assert (move.inputs["old"]["requests"], move.inputs["new"]["errors"]) == (400, 8)


def test_without_word_from_gateways_a_judged_rollout_stays_where_it_is() -> None:
    assert told(JUDGED, FIRST_SHARE, seen(stage_s=1e6)) is None
    assert told(JUDGED, Stage(), seen()) is None


def test_a_look_is_remembered_so_that_the_next_one_is_stricter() -> None:
    fine = seen(stable=Counts(400, 4), candidate=Counts(20, 0))
    assert told(JUDGED, FIRST_SHARE, fine) == (
        "looked",
        Stage(RolloutState.WATCHING, 0, 5, looks=1),
    )
    assert told(JUDGED, Stage(RolloutState.WATCHING, 0, 5, looks=1), fine) is None


def test_promoted_it_needs_its_replicas_and_nothing_else() -> None:
    promoted = Stage(RolloutState.WATCHING, 0, 5, promoted=True)
    preparing = Stage(RolloutState.PREPARING, 0, 5, promoted=True)
    assert told(JUDGED, promoted, seen()) == ("promoted", preparing)
    assert told(JUDGED, preparing, seen(ready=3)) is None
    done = Stage(RolloutState.FINISHED, 0, 100, promoted=True)
    assert told(JUDGED, preparing, seen(ready=4)) == ("promoted", done)
