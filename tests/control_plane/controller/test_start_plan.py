"""One line of the ledger, from rows and reports (pure)."""

from __future__ import annotations

import math

from pytest import approx

from control_plane.controller.start_plan import line
from control_plane.store.tables import Instance, Replica, Start
from infra.states import ReplicaState
from infra.wire import ReplicaReport, StartReport

CREATED = 1000.0


def begun(**more: object) -> Start:
    values = {"wakes": 0, "phases_s": {"decide": 2.0}, "created_at": CREATED, **more}
    return Start(id="sta-1", replica_id="rep-1", **values)


def replica(state: str = "ready", ready_at: float | None = CREATED + 60.0) -> Replica:
    return Replica(
        id="rep-1", state=state, reason="why", wakes=0, ready_at=ready_at, updated_at=CREATED + 60.0
    )


def instance(joined_at: float) -> Instance:
    return Instance(id="ins-1", instance_type="g5", zone="a", usd_per_hour=3.6, joined_at=joined_at)


def report(**phases: float) -> ReplicaReport:
    return ReplicaReport("rep-1", ReplicaState.READY, start=StartReport(phases_s=phases))


def test_phases_add_up_to_the_time_until_the_first_token() -> None:
    told = report(fetch=10.0, engine=2.0, load=5.0, warm=1.0, first_token=0.5)
    found = line(begun(launched_at=CREATED + 3), replica(), instance(CREATED + 40), told)
    phases = found.values["phases_s"]
    assert (phases["launch"], phases["boot"], phases["join"]) == approx((3.0, 37.0, 2.0))
    assert sum(phases.values()) == approx(2.0 + 60.0 + 0.5)
    assert found.close


def test_an_instance_costs_from_its_launch_on() -> None:
    found = line(
        begun(launched_at=CREATED + 10), replica(), instance(CREATED + 20), report(first_token=0.0)
    )
    assert found.values["usd"] == approx(50.0 * 3.6 / 3600.0)


def test_an_instance_that_was_there_before_has_no_boot() -> None:
    found = line(begun(launched_at=CREATED + 1), replica(), instance(CREATED - 500), report())
    assert found.values["phases_s"]["boot"] == 0.0


def test_what_an_agent_says_of_another_start_is_not_taken() -> None:
    found = line(begun(wakes=1), replica(), None, report(load=5.0))
    assert "load" not in found.values["phases_s"]


def test_nonsense_of_an_agent_is_not_written() -> None:
    told = report(load=math.nan, warm=-1.0, lunch=3600.0, fetch=math.inf)
    phases = line(begun(), replica(), None, told).values["phases_s"]
    assert (phases["load"], phases["warm"], phases["fetch"]) == (0.0, 0.0, 0.0)
    assert "lunch" not in phases


def test_a_line_that_says_all_already_is_not_written_again() -> None:
    start = begun(ready_at=CREATED + 60.0, outcome="ready", reason="", usd=0.0)
    start.phases_s = {"decide": 2.0, "join": 60.0}
    assert not line(start, replica(), None, None).changes(start)


def test_a_replica_that_ended_before_it_was_ready_failed() -> None:
    found = line(begun(), replica("failed", ready_at=None), None, None)
    assert (found.values["outcome"], found.values["reason"], found.close) == ("failed", "why", True)
