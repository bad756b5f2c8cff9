"""Why a deployment is as it is now, as the API tells it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from redis.asyncio import Redis

from control_plane.api.deployments import endpoints
from infra import reasons
from tests.control_plane.api.conftest import MakeModel
from tests.fixtures.database import on_sqlite_alone
from tests.fixtures.waiting import eventually

pytestmark = on_sqlite_alone
_PATH = "/deployments/chat"
_TOLD = {"target_replicas": 1, "reason": "at_max", "formula": "1 of 9", "inputs": {"kept": 4}}


async def test_what_the_controller_answers_is_passed_on(
    client: httpx.AsyncClient, make_model: MakeModel, valkey: Redis
) -> None:
    await make_model()
    deployed = (await client.put(_PATH, json={"model": "smollm2"})).json()["deployment"]
    asking = asyncio.create_task(client.get(f"{_PATH}/reason"))

    async def asked() -> bool:
        return await reasons.asked(valkey) == {deployed["id"]}

    await eventually(asked)
    await reasons.answer(valkey, {deployed["id"]: _TOLD})
    answer = await asking
    assert (answer.status_code, answer.json()) == (200, {"now": _TOLD})


async def test_without_a_controller_there_is_no_reason(
    client: httpx.AsyncClient, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_REASON_LIMIT_S", 0.05)
    await make_model()
    await client.put(_PATH, json={"model": "smollm2"})
    assert (await client.get(f"{_PATH}/reason")).json() == {"now": None}
    assert (await client.get("/deployments/other/reason")).status_code == 404
