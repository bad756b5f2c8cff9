"""What a controller learns of the capacity of replicas from their heartbeats."""

from __future__ import annotations

import pytest

from control_plane.controller.capacity_book import CapacityBook
from control_plane.controller.deployment_rows import DeploymentRows
from control_plane.controller.step_book import spread
from control_plane.store.tables import Deployment, Instance, Replica, Revision
from infra.performance.capacity import RequestMix
from infra.performance.model_facts import ModelFacts
from infra.performance.serving import Serving
from infra.states import ReplicaState
from infra.wire import Heartbeat, ReplicaReport, StepSample

_SERVING = Serving(ModelFacts(30, 576, 9, 3, 64, 49152, 10**8, 10**8, 10**6), "none", 2048, 32)
_MIX = RequestMix(prompt_tokens=100.0, output_tokens=50.0)
_STEPS = [StepSample(n, n * 300, 0, 0, 0.02 + n * 0.001) for n in (1, 4, 8, 20)] * 10


def _rows(revision_id: str, *running: str) -> DeploymentRows:
    spec = {"slo": {"tpot_ms": 40.0}}
    return DeploymentRows(
        now=0.0,
        deployment=Deployment(id="dep-1", spec=spec, revision_id=revision_id),
        revision=Revision(id=revision_id, options={}),
        live=[
            Replica(id=f"rep-{each}", revision_id=each, instance_id="ins-1", state="ready")
            for each in running
        ],
        former=(),
        failed=(),
        rollout=None,
        failed_leaving=(),
        last_decision=None,
        kept=(),
        samples=(),
        serving=_SERVING,
    )


def _heartbeat(sequence: int, *running: str) -> Heartbeat:
    reports = [
        ReplicaReport(f"rep-{each}", ReplicaState.READY, steps=list(_STEPS)) for each in running
    ]
    return Heartbeat("ins-1", 1, "build", sequence, 1, reports)


def _taught(*revision_ids: str, times: int = 3) -> CapacityBook:
    book = CapacityBook("local", lambda: 0.0)
    for sequence in range(times):
        heartbeats = {"ins-1": _heartbeat(sequence, *revision_ids)}
        book.learn(heartbeats, [_rows(revision_ids[0], *revision_ids)], {})
    return book


def test_a_new_revision_begins_with_what_was_learned_of_the_one_before() -> None:
    """A device that no data sheet describes would be unknown again, in the middle of a rollout."""
    book = _taught("old")
    before, _ = book.capacity(_rows("old", "old"), {}, _MIX, 50_000)
    assert before is not None
    rows = _rows("new", "old", "new")
    book.learn({}, [rows], {})
    after, why = book.capacity(rows, {}, _MIX, 50_000)
    assert after is not None, why
    assert after.decode_tokens_per_s == pytest.approx(before.decode_tokens_per_s)


def test_another_deployment_knows_nothing_of_it() -> None:
    book, rows = _taught("old"), _rows("other", "other")
    rows.deployment.id = "dep-2"
    found, why = book.capacity(rows, {}, _MIX, 50_000)
    assert found is None
    assert "no replica has measured steps yet" in why


def test_a_device_that_turns_out_too_slow_leaves_the_others_known() -> None:
    """Jobs would count instead, and those are no measure of what an SLO needs."""
    types = {"ins-1": "g6.xlarge", "ins-2": "g5.xlarge"}
    instances = {id: Instance(id=id, cloud="aws", instance_type=name) for id, name in types.items()}
    rows = _rows("new", "new", "new")
    rows.live[1].instance_id = "ins-2"
    book = CapacityBook("aws", lambda: 0.0)
    expected, _ = book.capacity(rows, {"ins-2": instances["ins-2"]}, _MIX, 50_000)
    slow = [StepSample(1, 300, 0, 0, 0.5)] * 20
    for sequence in range(3):
        report = ReplicaReport("rep-new", ReplicaState.READY, steps=slow)
        heartbeats = {"ins-1": Heartbeat("ins-1", 1, "build", sequence, 1, [report])}
        book.learn(heartbeats, [rows], instances)
    found, why = book.capacity(rows, instances, _MIX, 50_000)
    assert found is not None, why
    assert found == expected


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(0, 3, []), (3, 3, [0, 1, 2]), (4, 3, [0, 1, 2]), (10, 3, [0, 3, 6]), (10, 1, [0])],
)
def test_of_many_steps_a_few_of_all_count(count: int, most: int, expected: list[int]) -> None:
    assert spread(list(range(count)), most) == expected
