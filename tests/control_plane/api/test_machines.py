"""Machines of their owners: invited, let in, known again, read what they run, removed."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from control_plane.api.context import Context
from control_plane.store.repositories import listings, machines
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database
from control_plane.store.tables import Machine
from infra.settings import Settings
from infra.wire import WIRE_VERSION, JoinGrant

_JOIN = "/api/v1/instances/join"
_CREDENTIAL = "a-secret-that-the-machine-made-for-itself"
_REDIS = "redis://queue.example:6379/0"


@pytest.fixture(autouse=True)
def reachable(app: FastAPI) -> Settings:
    """The queue is where other machines reach it."""
    return set_up(app, agent_jobs_url=_REDIS)


def set_up(app: FastAPI, **values: Any) -> Settings:
    context: Context = app.state.context
    settings = context.settings.model_copy(update=values)
    app.state.context = Context(settings, context.database, context.jobs, context.tokens)
    return settings


async def _invite(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/machines", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def _request(token: str = "", **values: Any) -> dict[str, Any]:
    plain = {"token": token, "wire_version": WIRE_VERSION, "build": "b1", "hostname": "My Box!"}
    more = {"devices": ["cuda:0", "cuda:1"], "credential": _CREDENTIAL, "nonce": "process-1"}
    return {**plain, **more, **values}


async def _join(anonymous: httpx.AsyncClient, **values: Any) -> JoinGrant:
    answer = await anonymous.post(_JOIN, json=_request(**values))
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=JoinGrant)


async def test_a_machine_joins_with_its_token_and_is_listed_as_what_it_is(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, store: Database
) -> None:
    made = await _invite(client)
    [invited] = (await client.get("/machines")).json()["data"]
    assert (invited["name"], invited["instance"]) == ("", None)
    assert invited["joins_until"] is not None
    assert "token" not in invited
    grant = await _join(anonymous, token=made["token"])
    assert (grant.jobs_url, grant.tokens_url) == (_REDIS, _REDIS)
    [machine] = (await client.get("/machines")).json()["data"]
    assert (machine["id"], machine["name"], machine["joins_until"]) == (made["id"], "my-box", None)
    instance = machine["instance"]
    assert (instance["id"], instance["state"]) == (grant.instance_id, "joined")
    assert (instance["cloud"], instance["instance_type"]) == ("joined", "cuda")
    async with store.snapshot() as session:
        events = (await listings.audit_events(session, Page())).rows
    assert {"machine.invite", "instance.join"} <= {each.action for each in events}
    written = str([each.detail for each in events])
    for secret in (made["token"], _CREDENTIAL):
        assert secret not in str(machine) + written


async def test_a_token_lets_one_machine_in(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await _invite(client)
    answers = await asyncio.gather(
        *(
            anonymous.post(_JOIN, json=_request(made["token"], credential=str(number) * 40))
            for number in range(4)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_a_join_whose_answer_was_lost_is_repeated_to_the_same_end(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await _invite(client)
    first = await _join(anonymous, token=made["token"])
    assert await _join(anonymous, token=made["token"]) == first
    assert await _join(anonymous) == first


async def test_another_process_of_a_machine_takes_its_place(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await _invite(client, name="spare")
    first = await _join(anonymous, token=made["token"])
    second = await _join(anonymous, nonce="process-2")
    assert second.instance_id != first.instance_id
    old = (await client.get(f"/instances/{first.instance_id}")).json()
    assert (old["state"], old["reason"]) == ("lost", "its machine began anew")
    [machine] = (await client.get("/machines")).json()["data"]
    assert (machine["name"], machine["instance"]["id"]) == ("spare", second.instance_id)


async def test_a_machine_may_choose_its_name(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await _invite(client, name="spare")
    await _join(anonymous, token=made["token"], name="Under the desk")
    [machine] = (await client.get("/machines")).json()["data"]
    assert machine["name"] == "under-the-desk"


@pytest.mark.parametrize("token", ["", "join_nobody"])
async def test_a_machine_that_nobody_invited_is_refused_with_what_to_type(
    anonymous: httpx.AsyncClient, token: str
) -> None:
    answer = await anonymous.post(_JOIN, json=_request(token))
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:tamer:problem:join-refused"
    assert "tamer worker token" in answer.json()["detail"]


async def test_a_token_that_is_too_old_is_refused_and_its_machine_forgotten(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI, store: Database
) -> None:
    set_up(app, agent_jobs_url=_REDIS, join_token_s=-1.0)
    made = await _invite(client)
    answer = await anonymous.post(_JOIN, json=_request(made["token"]))
    assert (answer.status_code, "too old" in answer.json()["detail"]) == (401, True)
    await _invite(client)
    async with store.snapshot() as session:
        assert await session.get(Machine, made["id"]) is None


async def test_a_credential_that_can_be_guessed_is_refused(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await _invite(client)
    answer = await anonymous.post(_JOIN, json=_request(made["token"], credential="short"))
    assert answer.status_code == 422


async def test_a_removed_machine_is_told_to_leave_and_needs_a_new_token(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await _invite(client)
    grant = await _join(anonymous, token=made["token"])
    removed = await client.delete(f"/machines/{made['id']}")
    assert removed.status_code == 200
    assert removed.json()["instance"]["state"] == "draining"
    assert (await client.get("/machines")).json()["data"] == []
    assert (await client.delete(f"/machines/{made['id']}")).status_code == 404
    assert (await anonymous.post(_JOIN, json=_request(made["token"]))).status_code == 401
    again = await _invite(client)
    assert (await _join(anonymous, token=again["token"])).instance_id != grant.instance_id


@pytest.mark.parametrize(
    ("values", "what_to_set"),
    [
        ({"jobs_url": ""}, "TAMER_EMBEDDED_PORT"),
        ({"jobs_url": "unix:///run/redis.sock"}, "TAMER_AGENT_JOBS_URL"),
        (
            {"jobs_url": "redis://queue.example", "tokens_url": "unix:///run/redis.sock"},
            "TAMER_AGENT_TOKENS_URL",
        ),
    ],
)
async def test_no_token_is_made_where_no_machine_could_reach_the_queue(
    client: httpx.AsyncClient, app: FastAPI, values: dict[str, str], what_to_set: str
) -> None:
    set_up(app, agent_jobs_url="", **values)
    answer = await client.post("/machines", json={})
    assert answer.status_code == 409
    assert what_to_set in answer.json()["detail"]
    assert (await client.get("/machines")).json()["data"] == []


async def test_addresses_that_only_this_machine_reaches_are_refused_to_others(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI
) -> None:
    set_up(app, agent_jobs_url="", jobs_url="redis://127.0.0.1:7000/0")
    made = await _invite(client)
    refused = await anonymous.post(
        _JOIN, json=_request(made["token"]), headers={"host": "10.0.0.7:8000"}
    )
    assert refused.status_code == 409
    assert "TAMER_AGENT_JOBS_URL" in refused.json()["detail"]
    stranger = await anonymous.post(_JOIN, json=_request(), headers={"host": "10.0.0.7:8000"})
    assert stranger.status_code == 401, "who is not let in learns nothing of the queue"
    near = await anonymous.post(
        _JOIN, json=_request(made["token"]), headers={"host": "127.0.0.1:8000"}
    )
    assert near.status_code == 200, "the token was not used up"


async def test_the_embedded_port_is_told_under_the_name_by_which_we_are_reached(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI
) -> None:
    settings = set_up(
        app, agent_jobs_url="", jobs_url="", embedded_port=7777, embedded_host="0.0.0.0"
    )
    settings.embedded_password_file.write_text("the-password")
    made = await _invite(client)
    answer = await anonymous.post(
        _JOIN, json=_request(made["token"]), headers={"host": "[fd00::7]:8000"}
    )
    grant = msgspec.json.decode(answer.content, type=JoinGrant)
    assert grant.jobs_url.startswith("redis://agent:")
    assert grant.jobs_url.endswith("@[fd00::7]:7777/0")
    assert "the-password" not in grant.jobs_url


async def test_machines_are_counted_as_instances(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, store: Database
) -> None:
    made = await _invite(client)
    await _join(anonymous, token=made["token"])
    assert (await client.get("/status")).json()["instances"] == {"joined": 1}
    async with store.snapshot() as session:
        assert await machines.present(session, made["id"]) is not None
