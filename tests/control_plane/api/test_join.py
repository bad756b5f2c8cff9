from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from control_plane.store.repositories import instances
from control_plane.store.session import Database
from control_plane.store.tables import Instance
from infra.keys import hash_secret
from infra.registry import Registry
from infra.settings import Settings
from infra.states import InstanceState
from infra.wire import WIRE_VERSION, JoinGrant

_JOIN = "/api/v1/instances/join"
_TOKEN = "join_a-token"


@pytest.fixture
async def instance_id(store: Database) -> str:
    """An instance that has been launched and waits for its agent."""
    return await _launch(store)


async def _launch(store: Database, ttl_s: float = 60.0, cloud: str = "local") -> str:
    async with store.transaction() as session:
        instance = await instances.add(session, cloud, "process", "here", "on-demand")
        await instances.move(
            session, instance.id, InstanceState.REQUESTED, InstanceState.LAUNCHING, ""
        )
        assert await instances.expect_join(session, instance.id, hash_secret(_TOKEN), ttl_s)
    return instance.id


def _request(**values: Any) -> dict[str, Any]:
    plain = {"token": _TOKEN, "wire_version": WIRE_VERSION, "build": "b1", "hostname": "box"}
    return {**plain, "cpu_count": 2, "devices": ["cpu"], **values}


async def test_a_join_grants_the_queue_and_marks_the_instance(
    anonymous: httpx.AsyncClient,
    client: httpx.AsyncClient,
    instance_id: str,
    settings: Settings,
    valkey: Redis,
) -> None:
    answer = await anonymous.post(_JOIN, json=_request())
    assert answer.status_code == 200
    grant = msgspec.json.decode(answer.content, type=JoinGrant)
    assert grant.instance_id == instance_id
    assert (grant.jobs_url, grant.tokens_url) == (settings.jobs, settings.tokens)
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert shown["state"] == "joined"
    assert shown["joined_at"] is not None
    assert shown["capabilities"]["hostname"] == "box"
    assert _TOKEN not in str(shown) and hash_secret(_TOKEN) not in str(shown)
    assert await Registry(valkey).wait_for_bell(1.0)


async def test_a_token_works_once(anonymous: httpx.AsyncClient, instance_id: str) -> None:
    answers = await asyncio.gather(*(anonymous.post(_JOIN, json=_request()) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_a_join_whose_answer_was_lost_can_be_repeated_with_its_nonce_only(
    anonymous: httpx.AsyncClient, instance_id: str
) -> None:
    first = await anonymous.post(_JOIN, json=_request(nonce="n1"))
    assert first.status_code == 200
    assert (await anonymous.post(_JOIN, json=_request(nonce="n1"))).json() == first.json()
    for stranger in (_request(), _request(nonce="n2"), _request(token="other", nonce="n1")):
        assert (await anonymous.post(_JOIN, json=stranger)).status_code == 401


async def test_an_instance_that_is_gone_cannot_be_joined_again(
    anonymous: httpx.AsyncClient, instance_id: str, store: Database
) -> None:
    await anonymous.post(_JOIN, json=_request(nonce="n1"))
    async with store.transaction() as session:
        (await session.get_one(Instance, instance_id)).state = "lost"
    assert (await anonymous.post(_JOIN, json=_request(nonce="n1"))).status_code == 401


@pytest.mark.parametrize("state", ["draining", "lost", "terminated"])
async def test_an_instance_that_is_no_longer_wanted_is_not_joined(
    anonymous: httpx.AsyncClient, instance_id: str, store: Database, state: str
) -> None:
    async with store.transaction() as session:
        (await session.get_one(Instance, instance_id)).state = state
    assert (await anonymous.post(_JOIN, json=_request())).status_code == 401


async def test_an_expired_or_unknown_token_is_refused(
    anonymous: httpx.AsyncClient, store: Database
) -> None:
    await _launch(store, ttl_s=-1.0)
    for token in (_TOKEN, "join_nobody", ""):
        answer = await anonymous.post(_JOIN, json=_request(token=token))
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:tamer:problem:join-refused"


@pytest.mark.parametrize("version", [WIRE_VERSION + 1, WIRE_VERSION - 2])
async def test_another_wire_version_is_refused_and_keeps_the_token(
    anonymous: httpx.AsyncClient, instance_id: str, version: int
) -> None:
    answer = await anonymous.post(_JOIN, json=_request(wire_version=version))
    assert answer.status_code == 409
    assert "upgrade the" in answer.json()["detail"]
    assert (await anonymous.post(_JOIN, json=_request())).status_code == 200


async def test_the_wire_version_before_ours_is_understood(
    anonymous: httpx.AsyncClient, instance_id: str
) -> None:
    answer = await anonymous.post(_JOIN, json=_request(wire_version=WIRE_VERSION - 1))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"token": 1}', b'{"token": "x"}', b"\xff", b'{"token": "\\ud800"}']
)
async def test_a_malformed_join_is_refused(anonymous: httpx.AsyncClient, body: bytes) -> None:
    answer = await anonymous.post(_JOIN, content=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_instances_list_shows_ended_ones_only_when_asked(
    client: httpx.AsyncClient, instance_id: str, store: Database
) -> None:
    async with store.transaction() as session:
        (await session.get_one(Instance, instance_id)).state = "terminated"
    assert (await client.get("/instances")).json()["data"] == []
    assert len((await client.get("/instances", params={"ended": True})).json()["data"]) == 1
    assert (await client.get("/instances/ins-none")).status_code == 404


async def test_an_instance_elsewhere_is_told_what_to_set_where_it_could_not_reach_the_queue(
    anonymous: httpx.AsyncClient, store: Database
) -> None:
    instance_id = await _launch(store, cloud="aws")
    answer = await anonymous.post(_JOIN, json=_request())
    assert answer.status_code == 409
    assert "TAMER_AGENT_JOBS_URL" in answer.json()["detail"]
    async with store.snapshot() as session:
        row = await session.get_one(Instance, instance_id)
    assert row.state == "launching", "its token is as good as before"
