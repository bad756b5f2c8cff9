from __future__ import annotations

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from control_plane.api.deployments import device
from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.leases import guarded_update, take
from control_plane.store.repositories import decisions, listings, replicas
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database
from control_plane.store.tables import Deployment
from infra.registry import Registry
from infra.states import ReplicaState
from tests.control_plane.api.conftest import MakeModel

_CHAT = {"name": "chat", "model": "smollm2"}


async def test_a_new_deployment_is_pending_with_every_default_filled_in(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    answer = await client.post("/deployments", json=_CHAT)
    assert answer.status_code == 201
    body = answer.json()
    assert body["changed"] is True
    deployment = body["deployment"]
    assert deployment["state"] == "pending"
    assert deployment["generation"] == 1
    assert deployment["spec"]["scaling"]["min_replicas"] == 0
    assert deployment["revision"]["engine"] == "torch"
    assert deployment["revision"]["options"] == {
        "dtype": "auto",
        "exact": False,
        "max_context_tokens": 4096,
        "quantization": "auto",
    }
    assert (await client.get("/deployments/chat")).json() == deployment


async def test_a_second_deployment_of_a_name_answers_409(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    await client.post("/deployments", json=_CHAT)
    answer = await client.post("/deployments", json=_CHAT)
    assert answer.status_code == 409
    assert "tamer deploy" in answer.json()["detail"]


async def test_applying_the_same_spec_twice_changes_nothing(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    first = await client.put("/deployments/chat", json=_CHAT)
    second = await client.put("/deployments/chat", json={"model": "smollm2"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == {**first.json(), "changed": False}
    async with store.snapshot() as session:
        events = await listings.audit_events(session, Page())
    assert [event.action for event in events.rows].count("deployment.update") == 0


async def test_a_changed_engine_makes_a_new_revision_and_changed_scaling_does_not(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    first = (await client.put("/deployments/chat", json=_CHAT)).json()["deployment"]
    scaled = await client.put("/deployments/chat", json={**_CHAT, "scaling": {"max_replicas": 3}})
    exact = await client.put("/deployments/chat", json={**_CHAT, "engine": {"exact": True}})
    assert scaled.json()["deployment"]["generation"] == 2
    assert scaled.json()["deployment"]["revision"] == first["revision"]
    assert exact.json()["deployment"]["generation"] == 3
    assert exact.json()["deployment"]["revision"]["id"] != first["revision"]["id"]


async def test_deleting_asks_the_controller_and_frees_the_name_only_when_it_is_done(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    await client.post("/deployments", json=_CHAT)
    gone = await client.delete("/deployments/chat")
    assert (gone.status_code, gone.json()["state"]) == (202, "deleting")
    assert (await client.delete("/deployments/chat")).json() == gone.json()
    for method, path in (("PUT", "/deployments/chat"), ("POST", "/deployments")):
        assert (await client.request(method, path, json=_CHAT)).status_code == 409
    async with store.transaction() as session:
        (await session.get_one(Deployment, gone.json()["id"])).state = "deleted"
    assert (await client.get("/deployments/chat")).status_code == 404
    assert (await client.post("/deployments", json=_CHAT)).status_code == 201


async def test_a_delete_wins_over_a_controller_that_works_on_the_row(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    made = (await client.post("/deployments", json=_CHAT)).json()["deployment"]
    async with store.transaction() as session:
        token = await take(session, Deployment, made["id"], 60.0)
    assert token is not None
    await client.delete("/deployments/chat")
    async with store.transaction() as session:
        assert not await guarded_update(session, Deployment, made["id"], token, state="ready")
    assert (await client.get("/deployments/chat")).json()["state"] == "deleting"


async def test_the_controller_hears_of_a_change_and_not_of_a_repetition(
    client: httpx.AsyncClient, make_model: MakeModel, valkey: Redis
) -> None:
    await make_model()
    registry = Registry(valkey)
    await client.put("/deployments/chat", json=_CHAT)
    assert await registry.wait_for_bell(1.0)
    await client.put("/deployments/chat", json=_CHAT)
    assert await valkey.exists("tamer:controller:bell") == 0


async def test_every_change_is_audited_with_the_key_that_made_it(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    [key] = (await client.get("/keys")).json()["data"]
    await client.post("/deployments", json=_CHAT)
    await client.put("/deployments/chat", json={**_CHAT, "engine": {"exact": True}})
    await client.delete("/deployments/chat")
    async with store.snapshot() as session:
        events = (await listings.audit_events(session, Page())).rows
    ours = [event for event in events if event.action.startswith("deployment.")]
    assert {event.key_id for event in ours} == {key["id"]}
    assert {event.action for event in ours} == {
        "deployment.create",
        "deployment.update",
        "deployment.delete",
    }


async def test_a_model_that_is_not_there_is_named_with_what_to_type(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model("smollm2")
    answer = await client.post("/deployments", json={"name": "chat", "model": "smolm2"})
    assert answer.status_code == 422
    assert "did you mean 'smollm2'" in answer.json()["detail"]
    assert (await client.get("/deployments")).json()["data"] == []


async def test_a_model_that_is_not_ready_answers_409_with_its_state(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model(state="importing")
    answer = await client.post("/deployments", json=_CHAT)
    assert answer.status_code == 409
    assert "importing" in answer.json()["detail"]


async def test_a_context_beyond_the_models_own_is_refused(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model(max_context_tokens=2048)
    too_long = {**_CHAT, "engine": {"max_context_tokens": 4096}}
    answer = await client.post("/deployments", json=too_long)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "engine.max_context_tokens"
    made = (await client.post("/deployments", json=_CHAT)).json()["deployment"]
    assert made["revision"]["options"]["max_context_tokens"] == 2048


async def test_weights_that_were_rounded_are_not_deployed_as_if_they_were_whole(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model(quantization="int8")
    whole = {**_CHAT, "engine": {"quantization": "none"}}
    refused = await client.post("/deployments", json=whole)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "engine.quantization"
    assert (await client.post("/deployments", json=_CHAT)).is_success


async def test_a_gpu_is_refused_where_no_machine_has_one(
    client: httpx.AsyncClient, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_model()
    wanted = {**_CHAT, "engine": {"options": {"device": "cuda"}}}
    monkeypatch.setattr(device, "gpu_count", lambda: 0)
    refused = await client.post("/deployments", json=wanted)
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["field"] == "engine.options"
    assert "tamer worker token" in error["message"]
    monkeypatch.setattr(device, "gpu_count", lambda: 1)
    assert (await client.post("/deployments", json=wanted)).status_code == 201


async def test_short_names_of_dtypes_are_understood(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    made = await client.post("/deployments", json={**_CHAT, "engine": {"dtype": "bf16"}})
    assert made.json()["deployment"]["revision"]["options"]["dtype"] == "bfloat16"


async def test_options_of_the_paced_engine_reach_the_revision(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    engine = {"kind": "paced", "options": {"tokens_per_s": 200.5, "max_running": 4}}
    made = await client.post("/deployments", json={**_CHAT, "engine": engine})
    revision = made.json()["deployment"]["revision"]
    assert revision["engine"] == "paced"
    assert revision["options"]["tokens_per_s"] == 200.5


async def test_limits_on_money_are_taken_on_the_local_cloud_and_said_to_hold(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    spec = {**_CHAT, "budget": {"usd_per_day": 5.0}, "placement": {"max_usd_per_hour": 1}}
    notes = (await client.post("/deployments", json=spec)).json()["notes"]
    assert [note.split(":")[0] for note in notes] == [
        "budget.usd_per_day",
        "placement.max_usd_per_hour",
    ]


async def test_only_what_was_said_is_said_to_have_no_effect(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    assert (await client.put("/deployments/chat", json=_CHAT)).json()["notes"] == []
    spec = {**_CHAT, "placement": {"spot": "never"}}
    [note] = (await client.put("/deployments/chat", json=spec)).json()["notes"]
    assert note.startswith("placement.spot: ")


async def test_lists_are_paged_without_loss_or_repetition(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    for number in range(5):
        await client.post("/deployments", json={**_CHAT, "name": f"chat-{number}"})
    names: list[str] = []
    parameters: dict[str, Any] = {"limit": 2}
    while True:
        body = (await client.get("/deployments", params=parameters)).json()
        names += [each["name"] for each in body["data"]]
        if body["next_cursor"] is None:
            break
        parameters["cursor"] = body["next_cursor"]
    assert sorted(names) == [f"chat-{number}" for number in range(5)]


async def test_decisions_replicas_and_status_show_what_the_controller_wrote(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    made = (await client.post("/deployments", json=_CHAT)).json()["deployment"]
    async with store.transaction() as session:
        deployment = await session.get_one(Deployment, made["id"])
        replica = await replicas.add(session, deployment)
        ended = await replicas.add(session, deployment)
        await replicas.move(
            session, ended.id, ReplicaState.REQUESTED, ReplicaState.FAILED, "crashed"
        )
        await decisions.add(
            session, deployment.id, "scale", "backlog", "ceil(n)", {"n": 1}, {"target": 1}
        )
    [decision] = (await client.get("/deployments/chat/decisions")).json()["data"]
    assert (decision["reason"], decision["inputs"]) == ("backlog", {"n": 1})
    [shown] = (await client.get("/deployments/chat/replicas")).json()["data"]
    assert (shown["id"], shown["deployment"], shown["state"]) == (replica.id, "chat", "requested")
    everything = await client.get("/replicas", params={"deployment": "chat", "ended": True})
    assert {each["id"] for each in everything.json()["data"]} == {replica.id, ended.id}
    status = (await client.get("/status")).json()
    assert status["models"] == {"ready": 1}
    [deployment_status] = status["deployments"]
    assert deployment_status["replicas"] == {"requested": 1}
    assert deployment_status["max_replicas"] == 1


async def test_replicas_of_an_unknown_deployment_answer_404(client: httpx.AsyncClient) -> None:
    for path in ("/deployments/none/replicas", "/deployments/none/decisions", "/deployments/none"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/replicas", params={"deployment": "none"})).status_code == 404


async def test_the_clock_in_answers_is_the_databases(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    async with store.snapshot() as session:
        before = await read_clock(session)
    made = (await client.post("/deployments", json=_CHAT)).json()["deployment"]
    assert before <= made["created_at"] < before + 30
    assert made["id"][:4] == new_id(Prefix.DEPLOYMENT)[:4]


async def test_advice_alone_starts_nothing_and_says_so(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    spec = {**_CHAT, "scaling": {"mode": "advise"}}
    [note] = (await client.post("/deployments", json=spec)).json()["notes"]
    assert "tamer scale chat 1 --for" in note
    assert (await client.put("/deployments/chat", json=_CHAT)).json()["notes"] == []
