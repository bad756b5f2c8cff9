"""Which waiting replica goes onto which machine, case by case."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.controller.placement_machines import Assignment, assign
from control_plane.controller.placement_rows import Placed, PlacementRows
from control_plane.placement.offer import Offer, Pool, Quota
from control_plane.placement.plan import Plan
from control_plane.placement.problem import Fit, Problem, Want
from control_plane.store.tables import Deployment, Instance, Model, Replica, Revision

SMALL = Pool("g6.xlarge", "us-east-1a", "spot")
TWIN = Pool("g6.xlarge", "us-east-1b", "spot")
OTHER = Pool("p3.2xlarge", "us-east-1a", "spot")
QUOTA = Quota("us-east-1", "g", "spot")


def _offer(pool: Pool, family: str, vcpus: int = 4) -> Offer:
    return Offer(pool, "us-east-1", "L4", 1, 1 << 34, vcpus, 0.3, quota_family=family)


OFFERS = {each.pool: each for each in (_offer(SMALL, "g"), _offer(TWIN, "g"), _offer(OTHER, "p"))}


def _assigned(planned: Mapping[Pool, int], vcpus: int, waiting: int) -> Assignment:
    """One replica runs in SMALL, and so many wait."""
    runs = Instance(
        id="ins-1",
        instance_type=SMALL.instance_type,
        zone=SMALL.zone,
        market=SMALL.market,
        capabilities=None,
    )
    chat = Deployment(id="dep-1", spec={})
    replicas = [Replica(id=f"rep-{index}") for index in range(waiting)]
    placed = Placed(chat, Revision(), Model(), replicas, [(Replica(id="rep-old"), runs)])
    rows = PlacementRows(0.0, [placed], [runs], {"ins-1": 1}, frozenset(), [], [])
    fits = {pool: Fit(pool, 1, 1.0) for pool in OFFERS}
    want = Want("dep-1", 1.0 + waiting, fits, running={SMALL: 1})
    problem = Problem(OFFERS, [want], {QUOTA: vcpus})
    plan = Plan(dict(planned), {"dep-1": dict(planned)}, 1.0)
    return assign(rows, problem, plan, {"dep-1": waiting})


def test_what_replaces_a_machine_that_runs_waits_while_that_uses_the_quota() -> None:
    made = _assigned({TWIN: 1, OTHER: 1}, vcpus=4, waiting=1)
    assert [machine.pool for machine in made.machines] == [OTHER]
    assert not made.held_back


def test_a_replica_that_finds_no_quota_is_told_that_it_waits_for_a_machine_to_go() -> None:
    made = _assigned({TWIN: 2}, vcpus=8, waiting=2)
    assert [machine.pool for machine in made.machines] == [TWIN]
    assert "us-east-1b waits until machines that run are given back" in made.held_back["dep-1"]


def test_a_quota_that_has_room_holds_nobody_back() -> None:
    made = _assigned({SMALL: 1, TWIN: 2}, vcpus=12, waiting=2)
    assert [machine.pool for machine in made.machines] == [TWIN, TWIN]
    assert not made.held_back
