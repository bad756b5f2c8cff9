"""What an owner orders for a while."""

from __future__ import annotations

import httpx
import pytest

from control_plane.store.clock import read_clock
from control_plane.store.session import Database
from control_plane.store.tables import Deployment
from tests.control_plane.api.conftest import MakeModel
from tests.fixtures.database import on_sqlite_alone

pytestmark = on_sqlite_alone
_PATH = "/deployments/chat/override"


@pytest.fixture
async def chat(client: httpx.AsyncClient, make_model: MakeModel) -> str:
    await make_model()
    spec = {"model": "smollm2", "scaling": {"max_replicas": 3}}
    return str((await client.put("/deployments/chat", json=spec)).json()["deployment"]["id"])


async def test_an_order_holds_for_as_long_as_it_says_by_the_databases_clock(
    client: httpx.AsyncClient, store: Database, chat: str
) -> None:
    answer = await client.put(_PATH, json={"replicas": 2, "seconds": 7200.0})
    assert answer.json()["override"]["replicas"] == 2
    async with store.snapshot() as session:
        row, now = await session.get_one(Deployment, chat), await read_clock(session)
    assert row.override_replicas == 2
    assert 7190 < row.override_until - now <= 7200
    assert row.generation == 1, "failures go on to count"


async def test_the_last_order_counts_and_a_deploy_keeps_it(
    client: httpx.AsyncClient, chat: str
) -> None:
    for replicas in (2, 0):
        await client.put(_PATH, json={"replicas": replicas, "seconds": 60.0})
    spec = {"model": "smollm2", "scaling": {"max_replicas": 2}}
    await client.put("/deployments/chat", json=spec)
    assert (await client.get("/deployments/chat")).json()["override"]["replicas"] == 0


async def test_an_order_can_be_ended_once_and_again(client: httpx.AsyncClient, chat: str) -> None:
    await client.put(_PATH, json={"replicas": 2, "seconds": 60.0})
    for _ in range(2):
        assert (await client.delete(_PATH)).json()["override"] is None
    assert (await client.get("/deployments/chat")).json()["override"] is None


async def test_an_order_that_is_over_is_not_shown(
    client: httpx.AsyncClient, store: Database, chat: str
) -> None:
    await client.put(_PATH, json={"replicas": 2, "seconds": 60.0})
    async with store.transaction() as session:
        row = await session.get_one(Deployment, chat)
        row.override_until = await read_clock(session) - 1
    assert (await client.get("/deployments/chat")).json()["override"] is None


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"replicas": 4, "seconds": 60.0}, "replicas", "above scaling.max_replicas (3)"),
        ({"replicas": -1, "seconds": 60.0}, "replicas", "greater than or equal to 0"),
        ({"replicas": 1}, "seconds", "missing"),
        ({"replicas": 1, "seconds": 0.0}, "seconds", "greater than 0"),
        ({"replicas": 1, "seconds": 1e9}, "seconds", "less than or equal to 2592000"),
    ],
)
async def test_what_cannot_be_ordered_is_refused_by_name(
    client: httpx.AsyncClient, chat: str, body: dict[str, float], field: str, says: str
) -> None:
    answer = await client.put(_PATH, json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert says in error["message"]


async def test_nothing_is_ordered_of_what_is_not_there_or_goes(
    client: httpx.AsyncClient, chat: str
) -> None:
    body = {"replicas": 1, "seconds": 60.0}
    assert (await client.put("/deployments/other/override", json=body)).status_code == 404
    await client.delete("/deployments/chat")
    assert (await client.put(_PATH, json=body)).status_code == 409
