from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from control_plane.api.app import build_api
from control_plane.api.keys.service import ensure_first_key
from control_plane.store.repositories import keys, listings
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database
from infra.keys import hash_secret
from infra.settings import Settings


async def _make(client: httpx.AsyncClient, *scopes: str) -> dict[str, str]:
    made = await client.post("/keys", json={"name": "ci", "scopes": list(scopes)})
    assert made.status_code == 201
    body: dict[str, str] = made.json()
    return body


async def test_a_key_works_from_its_creation_until_its_revocation(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await _make(client, "admin")
    headers = {"authorization": f"Bearer {key['secret']}"}
    assert (await anonymous.get("/api/v1/status", headers=headers)).status_code == 200
    revoked = await client.delete(f"/keys/{key['id']}")
    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"] is not None
    assert (await anonymous.get("/api/v1/status", headers=headers)).status_code == 401


async def test_the_secret_is_shown_once_and_kept_only_as_a_hash(
    client: httpx.AsyncClient, store: Database
) -> None:
    key = await _make(client, "inference")
    listed = await client.get("/keys")
    assert key["secret"] not in listed.text
    assert hash_secret(key["secret"]) not in listed.text
    async with store.snapshot() as session:
        row = await keys.by_hash(session, hash_secret(key["secret"]))
        events = await listings.audit_events(session, Page())
    assert row is not None and row.id == key["id"]
    assert all(key["secret"] not in str(event.detail) for event in events.rows)


async def test_the_last_admin_key_cannot_be_revoked(client: httpx.AsyncClient) -> None:
    [first] = (await client.get("/keys")).json()["data"]
    answer = await client.delete(f"/keys/{first['id']}")
    assert answer.status_code == 409
    assert "make another one" in answer.json()["detail"]


async def test_revoking_twice_is_revoking_once(client: httpx.AsyncClient) -> None:
    key = await _make(client, "inference")
    first = await client.delete(f"/keys/{key['id']}")
    assert (await client.delete(f"/keys/{key['id']}")).json() == first.json()


async def test_an_unknown_key_answers_404(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/keys/key-none")).status_code == 404


async def test_a_restart_makes_no_second_first_key_and_revives_no_revoked_one(
    app: FastAPI, client: httpx.AsyncClient, settings: Settings
) -> None:
    [first] = (await client.get("/keys")).json()["data"]
    other = await _make(client, "admin")
    await client.delete(f"/keys/{first['id']}")
    again = build_api(settings)
    async with again.router.lifespan_context(again):
        transport = httpx.ASGITransport(again)
        headers = {"authorization": f"Bearer {other['secret']}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://api", headers=headers
        ) as second:
            listed = (await second.get("/api/v1/keys")).json()["data"]
    assert {key["id"] for key in listed} == {first["id"], other["id"]}
    assert next(key for key in listed if key["id"] == first["id"])["revoked_at"] is not None


async def test_of_many_that_start_at_once_one_makes_the_first_key(store: Database) -> None:
    await asyncio.gather(*(ensure_first_key(store, "another-secret") for _ in range(4)))
    async with store.snapshot() as session:
        made = [key.id for key in await keys.valid(session)]
        told = [event.subject_id for event in (await listings.audit_events(session, Page())).rows]
    assert len(made) == 2 and sorted(told) == made


async def test_a_later_admin_key_of_the_settings_is_named_after_how_and_when_it_came(
    app: FastAPI, client: httpx.AsyncClient, settings: Settings
) -> None:
    again = build_api(settings.model_copy(update={"admin_key": SecretStr("another")}))
    async with again.router.lifespan_context(again):
        listed = (await client.get("/keys")).json()["data"]
    assert len(listed) == 2
    later, first = (key["name"] for key in listed)
    assert first == "first"
    assert re.fullmatch(r"TAMER_ADMIN_KEY \d{4}-\d\d-\d\d \d\d:\d\d UTC", later)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes.0"),
        ({"name": "x", "scopes": ["admin", "admin"]}, "scopes"),
        ({"name": "", "scopes": ["admin"]}, "name"),
        ({"name": "x", "tenant": "Not A Tenant"}, "tenant"),
        ({"name": "x", "scope": ["admin"]}, "scope"),
    ],
)
async def test_a_bad_key_body_is_refused_by_field(
    client: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    answer = await client.post("/keys", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
