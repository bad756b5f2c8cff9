"""The pure plans, case by case."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from control_plane.autoscaler.crash_loop import CrashPolicy, Failures
from control_plane.autoscaler.observation import Demand
from control_plane.autoscaler.policy import ScalingPolicy
from control_plane.controller import deployment_plan, instance_plan, replica_plan
from control_plane.controller.deployment_seen import DeploymentSeen
from control_plane.controller.instance_plan import InstanceSeen
from control_plane.controller.instance_step import Cause, InstanceStep
from control_plane.controller.limits import Limits
from control_plane.controller.rollout_plan import RolloutPart
from control_plane.ledger.budget import Period, Stage, Verdict
from control_plane.rollout.stage import Stage as RolloutStage
from control_plane.rollout.strategy import Kind, Strategy
from control_plane.store.tables import Deployment, Instance, Operation, Replica
from infra.cloud.base import CloudInstance, CloudInstanceState
from infra.states import InstanceState, ReplicaState
from infra.wire import Heartbeat, ReplicaReport

LIMITS = Limits(
    instance_lost_s=10, join_s=120, start_s=1800, drain_s=30, operation_s=600, lease_s=15
)
NOW = 10_000.0


def replica(state: str, id: str = "rep-1", revision_id: str = "new", age_s: float = 1.0) -> Replica:
    at = NOW - age_s
    return Replica(id=id, state=state, revision_id=revision_id, created_at=at, updated_at=at)


def instance(state: str, *, joined: bool = True, age_s: float = 1.0, reason: str = "") -> Instance:
    return Instance(
        id="ins-1",
        state=state,
        reason=reason,
        assignment_version=3,
        created_at=NOW - 3600.0,
        joined_at=NOW - age_s if joined else None,
        updated_at=NOW - age_s,
    )


def heartbeat(state: str | None, version: int = 3, **more: Any) -> Heartbeat:
    reports = [ReplicaReport("rep-1", ReplicaState(state), "said so")] if state else []
    return Heartbeat("ins-1", 1, "build", 1, version, reports, **more)


@pytest.mark.parametrize(
    ("state", "on", "reported", "expected"),
    [
        ("requested", instance("launching", joined=False), None, "launching"),
        ("launching", instance("launching", joined=False), None, None),
        ("launching", instance("booting", joined=False), None, "booting"),
        ("booting", instance("joined"), None, None),
        ("booting", instance("joined"), "requested", None),
        ("launching", instance("joined"), "loading", "loading"),
        ("launching", instance("joined"), "ready", "loading"),
        ("loading", instance("joined"), "ready", "ready"),
        ("ready", instance("joined"), "loading", None),
        ("ready", instance("joined"), "failed", "failed"),
        ("loading", instance("joined"), "terminated", "terminated"),
        ("ready", instance("joined"), "draining", "draining"),
        ("ready", instance("noticed"), "ready", "draining"),
        ("ready", instance("draining"), "ready", "draining"),
        ("booting", instance("draining", joined=False), None, "failed"),
        ("ready", instance("lost"), "ready", "failed"),
        ("draining", instance("lost"), None, "terminated"),
        ("draining", instance("joined"), "ready", None),
        ("draining", instance("joined"), "terminated", "terminated"),
        ("draining", instance("booting", joined=False), None, "terminated"),
    ],
)
def test_a_replica_follows_its_instance_and_its_agent(
    state: str, on: Instance, reported: str | None, expected: str | None
) -> None:
    heard = heartbeat(reported) if reported else None
    step = replica_plan.next_step(replica(state), on, heard, NOW, LIMITS)
    assert (step.to.value if step else None) == expected


def test_a_replica_whose_machine_is_not_to_be_had_waits_for_another() -> None:
    refused = instance("draining", joined=False, reason="launch failed: no capacity")
    refused.refused = True
    step = replica_plan.next_step(replica("launching"), refused, None, NOW, LIMITS)
    assert step is not None and step.to is ReplicaState.REQUESTED


def test_a_replica_that_is_never_ready_fails_at_its_limit() -> None:
    old = replica("loading", age_s=1801)
    step = replica_plan.next_step(old, instance("joined"), heartbeat("loading"), NOW, LIMITS)
    assert step is not None
    assert (step.to, step.reason) == (ReplicaState.FAILED, "not ready within 1800 s")


def test_a_draining_replica_that_its_agent_forgot_has_ended() -> None:
    told, not_told = heartbeat(None), heartbeat(None, version=2)
    draining, on = replica("draining"), instance("joined")
    assert replica_plan.next_step(draining, on, not_told, NOW, LIMITS) is None
    step = replica_plan.next_step(draining, on, told, NOW, LIMITS)
    assert step is not None
    assert step.to is ReplicaState.TERMINATED


@pytest.mark.parametrize(("version", "expected"), [(2, None), (3, "ready")])
def test_what_a_replica_said_before_it_slept_does_not_wake_it(
    version: int, expected: str | None
) -> None:
    woken = replica("loading")
    woken.wakes = 1
    heard = heartbeat("ready", version)
    step = replica_plan.next_step(woken, instance("joined"), heard, NOW, LIMITS)
    assert (step.to if step is not None else None) == expected


@pytest.mark.parametrize("on", InstanceState)
@pytest.mark.parametrize("state", ReplicaState)
def test_a_settled_replica_has_no_next_step(state: ReplicaState, on: InstanceState) -> None:
    """Whatever else is so; and those that serve are settled."""
    machine, row = instance(on.value), replica(state.value, age_s=1e6)
    row.instance_id, settled = machine.id, False
    for row.wakes, row.retiring, machine.refused, version in product(
        (0, 1), ("", "ins-2"), (False, True), (2, 3)
    ):
        settled = replica_plan.is_settled(row, machine)
        if settled:
            heard = heartbeat("ready", version)
            assert replica_plan.next_step(row, machine, heard, NOW, LIMITS) is None
    assert settled == ((state, on) == (ReplicaState.READY, InstanceState.JOINED))
    row.instance_id = "ins-2"
    assert not replica_plan.is_settled(row, machine)


def seen(**changes: Any) -> InstanceSeen:
    known = {
        "now": NOW,
        "replicas": 1,
        "heartbeat": None,
        "silent_s": 0.0,
        "cloud_answers": True,
        "cloud_age_s": 0.0,
        "machine": CloudInstance("ins-1", "m", CloudInstanceState.RUNNING),
        "launch": None,
        "termination": None,
    }
    return InstanceSeen(**{**known, **changes})


GONE = CloudInstance("ins-1", "m", CloudInstanceState.TERMINATED, "killed")
TAKEN = CloudInstance("ins-1", "m", CloudInstanceState.STOPPING, "taken back", taken=True)
STOPPING = CloudInstance("ins-1", "m", CloudInstanceState.STOPPING, "user asked")
NOTICED = CloudInstance("ins-1", "m", CloudInstanceState.RUNNING, noticed=True)


@pytest.mark.parametrize(("machine", "again"), [(NOTICED, False), (STOPPING, False), (TAKEN, True)])
def test_a_machine_that_falls_silent_is_taken_where_the_cloud_says_so(
    machine: CloudInstance, again: bool
) -> None:
    """Before the cloud calls it terminated."""
    quiet = seen(silent_s=11.0, machine=machine)
    step = instance_plan.next_step(instance("joined", age_s=99), quiet, LIMITS)
    assert step is not None
    assert (step.to, step.place_again) == (InstanceState.LOST, again)
    assert step.cause == ("ended_by_cloud" if again else "silent")


@pytest.mark.parametrize(
    ("state", "taken", "expected"),
    [
        ("booting", True, "requested"),
        ("loading", True, "terminated"),
        ("loading", False, "failed"),
        ("ready", True, "failed"),
        ("draining", True, "terminated"),
    ],
)
def test_a_machine_that_was_taken_is_no_failed_start_of_what_loaded_on_it(
    state: str, taken: bool, expected: str
) -> None:
    row = instance("lost", reason="taken back")
    row.refused = taken
    step = replica_plan.next_step(replica(state), row, None, NOW, LIMITS)
    assert step is not None
    assert step.to == expected


def owned(state: str, age_s: float = 99.0) -> Instance:
    """A machine that joined."""
    row = instance(state, age_s=age_s)
    row.cloud = "joined"
    return row


@pytest.mark.parametrize(
    ("row", "known", "expected"),
    [
        (owned("joined"), {"replicas": 0}, None),
        (owned("joined"), {"heartbeat": heartbeat("ready")}, None),
        (owned("joined"), {"heartbeat": heartbeat("ready", leaving=True)}, "draining"),
        (owned("joined"), {"silent_s": 11.0}, "lost"),
        (owned("lost"), {}, None),
        (owned("lost"), {"replicas": 0}, "terminated"),
        (owned("draining"), {"replicas": 1}, None),
        (owned("draining"), {"replicas": 0, "heartbeat": heartbeat(None, leaving=True)}, None),
        (owned("draining"), {"replicas": 0}, "terminated"),
        (owned("draining"), {"silent_s": 11.0}, "lost"),
    ],
)
def test_a_machine_that_joined_is_believed_alone_and_stays_when_it_is_empty(
    row: Instance, known: dict[str, Any], expected: str | None
) -> None:
    """No cloud knows it, whatever the configured one says."""
    what = seen(machine=None, **known)
    step = instance_plan.next_step(row, what, LIMITS)
    assert (step.to.value if step else None) == expected
    assert not instance_plan.needs_termination(row, what, LIMITS)


def operation(state: str) -> Operation:
    return Operation(state=state, error="because" if state != "running" else "")


WAITS = operation("pending")


@pytest.mark.parametrize(
    ("row", "known", "expected"),
    [
        (instance("requested", joined=False), seen(machine=None), "launching"),
        (instance("requested", joined=False), seen(machine=None, replicas=0), "terminated"),
        (instance("launching", joined=False), seen(launch=operation("running")), None),
        (instance("launching", joined=False), seen(launch=operation("succeeded")), "booting"),
        (instance("launching", joined=False), seen(launch=operation("failed")), "draining"),
        (instance("launching", joined=False), seen(replicas=0), "draining"),
        (instance("launching", joined=False), seen(launch=WAITS), "launching"),
        (instance("launching", joined=False, reason="because"), seen(launch=WAITS), None),
        (instance("booting", joined=False), seen(), None),
        (instance("booting", joined=False, age_s=121), seen(), "draining"),
        (instance("booting", joined=False), seen(machine=GONE), "lost"),
        (instance("booting", joined=False, age_s=4), seen(machine=None), None),
        (instance("booting", joined=False, age_s=6), seen(machine=None), "lost"),
        (instance("booting", joined=False, age_s=6), seen(machine=None, cloud_age_s=2.0), None),
        (instance("booting", joined=False), seen(machine=STOPPING), "lost"),
        (instance("joined", age_s=99), seen(machine=STOPPING), None),
        (instance("booting", joined=False, age_s=6), seen(machine=None, cloud_answers=False), None),
        (instance("joined", age_s=99), seen(silent_s=9.0), None),
        (instance("joined", age_s=99), seen(silent_s=11.0), "lost"),
        (instance("joined", age_s=99), seen(machine=GONE, heartbeat=heartbeat("ready")), "lost"),
        (instance("joined", age_s=99), seen(machine=None), "lost"),
        (instance("joined", age_s=99), seen(machine=None, heartbeat=heartbeat("ready")), None),
        (instance("joined"), seen(heartbeat=heartbeat("ready", leaving=True)), "draining"),
        (instance("joined"), seen(replicas=0), "draining"),
        (instance("joined"), seen(machine=NOTICED), "noticed"),
        (instance("noticed"), seen(machine=NOTICED), None),
        (instance("draining"), seen(machine=GONE), "terminated"),
        (instance("draining"), seen(termination=operation("succeeded")), "terminated"),
        (instance("draining"), seen(silent_s=11.0), "lost"),
        (instance("lost"), seen(), None),
        (instance("lost"), seen(machine=GONE), "terminated"),
    ],
)
def test_an_instance_follows_the_cloud_its_agent_and_its_operations(
    row: Instance, known: InstanceSeen, expected: str | None
) -> None:
    step = instance_plan.next_step(row, known, LIMITS)
    assert (step.to.value if step else None) == expected
    if step:
        assert step.to in InstanceState


@pytest.mark.parametrize(
    ("row", "known", "expected"),
    [
        (instance("joined"), seen(replicas=0), False),
        (instance("lost"), seen(), True),
        (instance("lost"), seen(termination=operation("running")), False),
        (instance("lost"), seen(termination=operation("failed")), True),
        (instance("draining", joined=False), seen(), True),
        (instance("draining"), seen(replicas=0, heartbeat=heartbeat(None)), False),
        (instance("draining"), seen(replicas=0), True),
        (instance("draining", age_s=41), seen(heartbeat=heartbeat("ready")), True),
    ],
)
def test_when_the_cloud_is_asked_for_the_end_of_an_instance(
    row: Instance, known: InstanceSeen, expected: bool
) -> None:
    assert instance_plan.needs_termination(row, known, LIMITS) is expected


@pytest.mark.parametrize(("state", "expected"), [("joined", None), ("noticed", "draining")])
def test_a_machine_stays_warm_until_the_cloud_wants_it_back(
    state: str, expected: str | None
) -> None:
    """Whether it is taken in the end or not."""
    row = instance(state)
    row.kept_for = "dep-1"
    step = instance_plan.next_step(row, seen(replicas=0, heartbeat=heartbeat(None)), LIMITS)
    assert (step.to.value if step else None) == expected


POLICY = ScalingPolicy(min_replicas=0, max_replicas=9, idle_s=60.0, jobs_per_replica=1)


def deployment(state: str = "ready", target: int = 2, reason: str = "") -> Deployment:
    return Deployment(
        id="dep-1", state=state, target_replicas=target, revision_id="new", reason=reason
    )


def planned(
    row: Deployment,
    replicas: list[Replica],
    jobs: int,
    *,
    failures: Failures | None = None,
    running: dict[str, int] | None = None,
    pending: dict[str, int] | None = None,
) -> deployment_plan.DeploymentPlan:
    known = DeploymentSeen(
        now=NOW,
        replicas=replicas,
        running=running or {},
        failures=failures or Failures(),
        demand=Demand(jobs, 100.0 if not jobs else 0.0, 0.0),
        pending=pending or {},
    )
    return deployment_plan.plan(row, known, POLICY, CrashPolicy(limit=3))


@pytest.mark.parametrize(("stage", "added"), [(None, 1), (Stage.HELD, 0)])
def test_a_rollout_adds_nothing_where_the_budget_is_spent(stage: Stage | None, added: int) -> None:
    """What is lost comes back; a surge is more than there was."""
    running = [replica("ready", f"rep-{number}", "old") for number in (1, 2)]
    strategy = Strategy(Kind.BLUE_GREEN)
    known = DeploymentSeen(
        now=NOW,
        replicas=running,
        running={},
        failures=Failures(),
        demand=Demand(2, 0.0, 0.0),
        pending={"old": 2, "new": 0},
        rollout=RolloutPart("old", strategy, RolloutStage(), Failures()),
        verdict=None if stage is None else Verdict(stage, Period.DAY, 10.0, 10.0, NOW + 60),
    )
    found = deployment_plan.plan(deployment(), known, POLICY, CrashPolicy())
    assert min(found.add, 1) == added
    one_lost = replace(known, replicas=running[:1])
    again = deployment_plan.plan(deployment(), one_lost, POLICY, CrashPolicy())
    assert again.finish == ("old",)
    assert min(again.add, 1) == added


@pytest.mark.parametrize(
    ("failed", "old", "added"),
    [(3, [], 4), (2, [], 1), (3, ["ready"], 1), (3, ["loading"], 1)],
)
def test_a_canary_beside_a_revision_that_no_longer_starts_carries_it_all(
    failed: int, old: list[str], added: int
) -> None:
    """Its share of the replicas is that of its traffic, which is all where the old one is dead."""
    known = DeploymentSeen(
        now=NOW,
        replicas=[replica(state, f"rep-{number}", "old") for number, state in enumerate(old)],
        running={},
        failures=Failures(),
        demand=Demand(4, 0.0, 0.0),
        pending={"old": 4, "new": 0},
        rollout=RolloutPart(
            "old", Strategy(Kind.CANARY, steps=(5, 100)), RolloutStage(), Failures(failed, NOW - 1)
        ),
    )
    found = deployment_plan.plan(deployment(target=4), known, POLICY, CrashPolicy(limit=3))
    assert found.add == added


@pytest.mark.parametrize(
    ("states", "told"),
    [((), True), (("sleeping",), True), (("draining",), False), (("draining", "sleeping"), False)],
)
def test_held_at_zero_what_waits_is_told_when_nothing_runs_or_leaves(
    states: tuple[str, ...], told: bool
) -> None:
    known = DeploymentSeen(
        now=NOW,
        replicas=[replica(state, f"rep-{state}") for state in states],
        running={},
        failures=Failures(),
        demand=Demand(2, 0.0, 0.0),
        pending={"new": 1, "old": 1},
        former=[replica("terminated", "rep-0", "old")],
        verdict=Verdict(Stage.HELD, Period.DAY, 10.0, 10.0, NOW + 60),
    )
    known.former[0].ready_at = NOW - 60
    at_zero = deployment()
    at_zero.target_replicas = 0
    found = deployment_plan.plan(at_zero, known, POLICY, CrashPolicy())
    assert found.abandon == ("budget_spent" if told else "")
    assert (found.add, found.finish, found.wake) == (0, (), ())


def test_the_furthest_from_ready_then_the_least_busy_then_the_newest_goes_first() -> None:
    replicas = [replica("ready", f"rep-{number}") for number in (1, 2, 3, 4)]
    replicas.append(replica("booting", "rep-0"))
    plan = planned(deployment(target=5), replicas, 2, running={"rep-1": 9, "rep-2": 5})
    assert [each.id for each in plan.drain] == ["rep-0", "rep-4", "rep-3"]


def test_what_drains_already_counts_no_more() -> None:
    plan = planned(deployment(), [replica("ready"), replica("draining", "rep-2")], 2)
    assert (plan.add, plan.drain) == (1, ())


@pytest.mark.parametrize(
    ("failures", "others", "add"),
    [
        (Failures(0), [], 4),
        (Failures(1, NOW - 0.5), [], 0),
        (Failures(1, NOW - 1.5), [], 1),
        (Failures(2, NOW - 1.5), [], 0),
        (Failures(1, NOW - 1.5), [replica("loading")], 0),
        (Failures(1, NOW - 1.5), [replica("ready")], 1),
        (Failures(3, NOW - 999), [], 0),
    ],
)
def test_after_a_failed_start_one_at_a_time_is_tried_after_a_pause(
    failures: Failures, others: list[Replica], add: int
) -> None:
    assert planned(deployment(target=4), others, 4, failures=failures).add == add


@pytest.mark.parametrize(
    ("row", "ready", "jobs", "expected"),
    [
        (deployment("pending", 0), 0, 2, "deploying"),
        (deployment("idle", 0), 0, 1, "deploying"),
        (deployment("deploying", 2), 2, 2, "ready"),
        (deployment("ready", 2), 1, 2, "ready"),
        (deployment("ready", 1), 0, 1, "deploying"),
        (deployment("ready", 1), 1, 2, "ready"),
        (deployment("ready", 2, "1 of 2 replicas ready"), 1, 2, "ready"),
        (deployment("degraded", 2), 1, 2, "ready"),
        (deployment("ready", 2), 2, 0, "idle"),
        (deployment("deleting", 2), 1, 2, "deleting"),
        (deployment("deleting", 0), 0, 0, "deleted"),
    ],
)
def test_the_state_of_a_deployment(row: Deployment, ready: int, jobs: int, expected: str) -> None:
    replicas = [replica("ready", f"rep-{number}") for number in range(ready)]
    assert planned(row, replicas, jobs).state == expected


@pytest.mark.parametrize(
    ("state", "ready", "expected"),
    [
        ("ready", 1, "degraded"),
        ("ready", 0, "degraded"),
        ("degraded", 0, "degraded"),
        ("deploying", 1, "degraded"),
        ("deploying", 0, "deploying"),
        ("degraded", 2, "ready"),
    ],
)
def test_it_is_degraded_while_replicas_that_are_missing_fail_to_start(
    state: str, ready: int, expected: str
) -> None:
    replicas = [replica("ready", f"rep-{number}") for number in range(ready)]
    failures = Failures(1, NOW - 0.5, "no memory")
    plan = planned(deployment(state, 2), replicas, 2, failures=failures)
    assert plan.state == expected
    assert ("the last: no memory" in plan.reason) == (ready < 2)


def test_an_old_revision_goes_when_the_new_one_is_ready_and_its_queue_is_empty() -> None:
    old = replica("ready", "rep-0", revision_id="old")
    loading, ready = [old, replica("loading")], [old, replica("ready")]
    assert planned(deployment(target=1), loading, 1).drain == ()
    assert planned(deployment(target=1), ready, 1, pending={"old": 1}).drain == ()
    assert planned(deployment(target=1), ready, 1, pending={"old": 0}).drain == (old,)
    assert planned(deployment(target=1), loading, 1).state == "updating"


def test_a_step_says_why_by_code_formula_and_numbers() -> None:
    row = instance("booting", joined=False, age_s=121)
    step = instance_plan.next_step(row, seen(), LIMITS)
    assert step is not None
    assert step.cause is Cause.NEVER_JOINED
    assert step.formula == "waited_s > limit_s"
    assert step.inputs == {"waited_s": 121.0, "limit_s": 120}


def test_every_cause_has_its_formula() -> None:
    for cause in Cause:
        assert InstanceStep(InstanceState.LOST, "", cause).formula


def test_a_replica_says_why_its_launch_waits_and_is_not_late_meanwhile() -> None:
    waits = instance("launching", joined=False, reason="AWS does not accept the credentials")
    row = replica("launching", age_s=9999)
    step = replica_plan.next_step(row, waits, None, NOW, LIMITS)
    assert step == replica_plan.ReplicaStep(ReplicaState.LAUNCHING, waits.reason)
    row.reason = waits.reason
    assert replica_plan.next_step(row, waits, None, NOW, LIMITS) is None
    reason = planned(deployment("deploying", 1), [row], 1).reason
    assert "the next one waits: AWS does not accept the credentials" in reason
