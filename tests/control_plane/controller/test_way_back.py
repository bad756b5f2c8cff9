"""When a revision that was left in the middle gives way: case by case."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.controller.replica_plan import NO_ROOM
from control_plane.controller.way_back import WayBack, giving_way, way_back
from control_plane.store.tables import Deployment, Replica, Rollout

NOW = 10_000.0


def replicas(revision_id: str, *states: str) -> list[Replica]:
    return [
        Replica(
            id=f"rep-{revision_id}-{number}",
            revision_id=revision_id,
            state=state,
            reason="",
            created_at=NOW - 61.0,
            instance_id=None if state == "requested" else "ins-1",
        )
        for number, state in enumerate(states)
    ]


def tried(**changes: Any) -> Rollout:
    known = {"from_revision_id": "old", "state": "aborted", "percent": 50, "ended_at": NOW - 9.0}
    return Rollout(**{**known, **changes})


def gone_back(
    staying: list[Replica],
    going: list[Replica],
    target: int = 4,
    spent: str = "",
    ended_s: float = 9.0,
    **placement: Any,
) -> WayBack:
    row = Deployment(spec={"placement": placement})
    tries = {"new": tried(ended_at=NOW - ended_s)}
    return way_back(row, tries, going, staying, target, spent, {}, NOW)


@pytest.mark.parametrize(
    ("changes", "gives"),
    [
        ({}, True),
        ({"state": "superseded"}, True),
        ({"state": "rolled_back"}, True),
        ({"state": "rolled_back", "percent": 0}, False),
        ({"state": "finished", "percent": 100}, False),
        ({"state": "watching"}, False),
        ({"from_revision_id": "another"}, False),
    ],
)
def test_a_revision_gives_way_that_had_traffic_of_the_one_that_stays(
    changes: dict[str, Any], gives: bool
) -> None:
    assert giving_way({"new": tried(**changes)}, "old") == ({"new"} if gives else set())


@pytest.mark.parametrize(
    ("old", "new", "goes"),
    [
        (("ready", "ready", "loading", "loading"), ("ready", "ready"), []),
        (("ready", "ready", "ready", "loading"), ("ready", "ready"), ["rep-new-1"]),
        (("ready", "ready", "loading"), ("ready", "ready", "loading"), ["rep-new-2"]),
        (("loading",), ("ready",), []),
    ],
)
def test_as_many_stay_as_are_missing(
    old: tuple[str, ...], new: tuple[str, ...], goes: list[str]
) -> None:
    found = gone_back(replicas("old", *old), replicas("new", *new))
    assert ([each.id for each in found.drain], found.over) == (goes, "")


def test_it_is_over_when_all_are_there() -> None:
    found = gone_back(replicas("old", "ready", "ready"), replicas("new", "ready"), target=2)
    assert found == WayBack(over="2 of 2 replicas ready")


def test_a_spent_budget_ends_it_since_nothing_is_added_while_both_run() -> None:
    found = gone_back(replicas("old", "ready"), replicas("new", "ready"), spent="it is spent")
    assert found == WayBack(over="it is spent")


def test_it_ends_with_the_limit_of_a_step() -> None:
    old, new = replicas("old", "ready", "loading"), replicas("new", "ready")
    assert gone_back(old, new, target=2, ended_s=3599.0).over == ""
    over = gone_back(old, new, target=2, ended_s=3601.0).over
    assert over == "waited 3600 s for 1 more replicas"


@pytest.mark.parametrize(
    ("reason", "placement", "over"),
    [
        ("no spot capacity", {}, ""),
        ("costs too much", {"max_usd_per_hour": 4.0}, "no room for both revisions: costs too much"),
        (NO_ROOM, {}, f"no room for both revisions: {NO_ROOM}"),
    ],
)
def test_where_there_is_no_room_for_both_it_ends_after_a_minute(
    reason: str, placement: dict[str, float], over: str
) -> None:
    old = replicas("old", "ready", "requested")
    old[1].reason = reason
    assert gone_back(old, replicas("new", "ready"), target=2, **placement).over == over
    old[1].created_at = NOW - 59.0
    assert gone_back(old, replicas("new", "ready"), target=2, **placement).over == ""
