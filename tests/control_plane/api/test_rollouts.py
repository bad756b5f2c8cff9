"""What a deploy means for the rollout of its deployment, and its owner's word."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from control_plane.store.clock import read_clock
from control_plane.store.repositories import deployments, listings, replicas, rollouts
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Replica
from infra.states import RolloutState
from tests.control_plane.api.conftest import MakeModel

_OLD = {"model": "old", "scaling": {"max_replicas": 3}}
_NEW = {"model": "new", "scaling": {"max_replicas": 3}, "rollout": {"strategy": "canary"}}
_PATH = "/deployments/chat"


@pytest.fixture
async def serving(client: httpx.AsyncClient, store: Database, make_model: MakeModel) -> str:
    """A deployment that has served; its revision."""
    for name in ("old", "new", "newer"):
        await make_model(name)
    deployed = (await client.put(_PATH, json=_OLD)).json()["deployment"]
    async with store.transaction() as session:
        row = await session.get_one(Deployment, deployed["id"])
        replica = await replicas.add(session, row)
        replica.state, replica.ready_at = "ready", await read_clock(session)
    return str(deployed["revision"]["id"])


async def _rollout(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get(f"{_PATH}/rollout")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_another_model_begins_a_rollout_and_another_limit_does_not(
    client: httpx.AsyncClient, serving: str
) -> None:
    await client.put(_PATH, json={**_OLD, "scaling": {"max_replicas": 2}})
    assert (await client.get(f"{_PATH}/rollout")).status_code == 404
    new = (await client.put(_PATH, json=_NEW)).json()["deployment"]["revision"]["id"]
    found = await _rollout(client)
    assert (found["from_revision_id"], found["to_revision_id"]) == (serving, new)
    assert (found["state"], found["percent"], found["from_spec"]["model"]) == (
        "preparing",
        0,
        "old",
    )
    assert (found["from_replicas"], found["to_replicas"]) == ({"ready": 1}, {})


async def test_what_has_never_served_is_replaced_without_a_rollout(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model("old")
    await make_model("new")
    await client.put(_PATH, json=_OLD)
    assert (await client.put(_PATH, json=_NEW)).status_code == 200
    assert (await client.get(f"{_PATH}/rollout")).status_code == 404


async def test_what_has_failed_is_replaced_without_a_rollout(
    client: httpx.AsyncClient, store: Database, serving: str
) -> None:
    """It served once, and starts no longer: who asks must not wait for it."""
    async with store.transaction() as session:
        found = await deployments.find(session, "chat")
        assert found is not None
        found.deployment.state = "failed"
    assert (await client.put(_PATH, json=_NEW)).status_code == 200
    assert (await client.get(f"{_PATH}/rollout")).status_code == 404


async def test_deploying_the_old_revision_again_ends_the_rollout(
    client: httpx.AsyncClient, serving: str
) -> None:
    await client.put(_PATH, json=_NEW)
    back = (await client.put(_PATH, json=_OLD)).json()["deployment"]
    assert back["revision"]["id"] == serving
    assert (await _rollout(client))["state"] == "superseded"


async def test_a_third_revision_comes_from_the_one_that_serves(
    client: httpx.AsyncClient, serving: str
) -> None:
    await client.put(_PATH, json=_NEW)
    first = await _rollout(client)
    await client.put(_PATH, json={**_NEW, "model": "newer"})
    second = await _rollout(client)
    assert second["id"] != first["id"]
    assert (second["from_revision_id"], second["from_spec"]["model"]) == (serving, "old")


async def test_an_abort_puts_back_model_and_engine_and_leaves_the_rest(
    client: httpx.AsyncClient, serving: str
) -> None:
    await client.put(_PATH, json={**_NEW, "scaling": {"max_replicas": 5}})
    answer = await client.post(f"{_PATH}/rollout/abort")
    assert (answer.status_code, answer.json()["state"]) == (200, "aborted")
    chat = (await client.get(_PATH)).json()
    assert (chat["revision"]["id"], chat["spec"]["model"]) == (serving, "old")
    assert chat["spec"]["scaling"]["max_replicas"] == 5
    decisions = (await client.get(f"{_PATH}/decisions")).json()["data"]
    assert [(each["kind"], each["reason"]) for each in decisions] == [("rollout", "aborted")]
    assert (await client.post(f"{_PATH}/rollout/abort")).status_code == 409


async def test_what_was_taken_back_is_tried_again_only_on_request(
    client: httpx.AsyncClient, serving: str
) -> None:
    new = (await client.put(_PATH, json=_NEW)).json()["deployment"]["revision"]["id"]
    await client.post(f"{_PATH}/rollout/abort")
    refused = await client.put(_PATH, json=_NEW)
    assert refused.status_code == 409
    assert "tamer deploy --again" in refused.json()["detail"]
    assert (await client.get(_PATH)).json()["revision"]["id"] == serving
    again = await client.put(_PATH, json=_NEW, params={"again": "true"})
    assert again.json()["deployment"]["revision"]["id"] == new
    assert (await _rollout(client))["state"] == "preparing"


async def test_a_promotion_is_asked_once_however_often(
    client: httpx.AsyncClient, serving: str, store: Database
) -> None:
    assert (await client.post(f"{_PATH}/rollout/promote")).status_code == 409
    assert serving
    await client.put(_PATH, json=_NEW)
    for _ in range(2):
        answer = await client.post(f"{_PATH}/rollout/promote")
        assert (answer.status_code, answer.json()["promoted"]) == (200, True)
    async with store.snapshot() as session:
        actions = [each.action for each in (await listings.audit_events(session, Page())).rows]
    assert actions.count("rollout.promote") == 1


async def test_a_model_that_a_rollout_may_go_back_to_cannot_be_deleted(
    client: httpx.AsyncClient, serving: str, store: Database
) -> None:
    assert serving
    await client.put(_PATH, json=_NEW)
    assert (await client.delete("/models/old")).status_code == 409
    async with store.transaction() as session:
        [rollout] = (await rollouts.all_open(session)).values()
        await rollouts.move(session, rollout, RolloutState.FINISHED, "done")
    assert (await client.delete("/models/old")).status_code == 200


@pytest.mark.parametrize(
    ("rollout", "field", "said"),
    [
        ({"strategy": "canari"}, "rollout.strategy", "canary"),
        ({"strategy": "canary", "steps": [25, 5]}, "rollout.steps", "[25, 5]"),
        ({"strategy": "canary", "steps": [0, 5]}, "rollout.steps.0", "greater than or equal to 1"),
        ({"steps": [5, 100]}, "rollout.steps", "say strategy: canary"),
        ({"strategy": "canary", "hold_s": 5.0}, "rollout.hold_s", "say strategy: blue_green"),
        ({"max_surge": 0}, "rollout", "max_surge: 1"),
        ({"rollback_on": "slo"}, "rollout.rollback_on", "ttft_ms"),
        ({"stragety": "canary"}, "rollout.stragety", "did you mean 'strategy'"),
    ],
)
async def test_a_rollout_that_cannot_be_is_refused_with_the_name_of_its_field(
    client: httpx.AsyncClient,
    make_model: MakeModel,
    rollout: dict[str, Any],
    field: str,
    said: str,
) -> None:
    await make_model("old")
    answer = await client.put(_PATH, json={**_OLD, "rollout": rollout})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert said in error["message"]


async def test_an_abort_tells_of_traffic_while_a_replica_is_there_to_have_it(
    client: httpx.AsyncClient, serving: str, store: Database
) -> None:
    """Nobody writes that the cloud has taken the last one of them, or that all went to sleep."""
    assert serving
    canary = {"strategy": "canary", "steps": [25, 100]}
    applied = (await client.put(_PATH, json={**_NEW, "rollout": canary})).json()["deployment"]
    async with store.transaction() as session:
        row = await session.get_one(Deployment, applied["id"])
        replica = await replicas.add(session, row)
        replica.state, replica.ready_at = "ready", await read_clock(session)
        under_way = await rollouts.open_of(session, row.id)
        assert under_way is not None
        under_way.percent = 25
    assert (await client.post(f"{_PATH}/rollout/abort")).json()["percent"] == 25
    assert (await _rollout(client))["percent"] == 25
    async with store.transaction() as session:
        lost = await session.get_one(Replica, replica.id)
        lost.state, lost.ended_at = "terminated", await read_clock(session)
    assert (await _rollout(client))["percent"] == 0
