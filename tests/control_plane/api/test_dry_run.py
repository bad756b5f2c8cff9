"""`PUT /deployments/NAME?dry_run=true` answers what would be, and nothing happens."""

from __future__ import annotations

import httpx
from redis.asyncio import Redis
from sqlalchemy import func, select

from control_plane.store.session import Database
from control_plane.store.tables import AuditEvent, Base, Deployment, Revision
from infra.registry import Registry
from tests.control_plane.api.conftest import MakeModel

_CHAT = {"name": "chat", "model": "smollm2"}
_DRY = {"dry_run": "true"}


async def rows(store: Database) -> list[int]:
    async with store.snapshot() as session:
        tables: list[type[Base]] = [Deployment, Revision, AuditEvent]
        return [
            await session.scalar(select(func.count()).select_from(table)) or 0 for table in tables
        ]


async def test_a_dry_run_of_a_new_deployment_writes_nothing_and_tells_nobody(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database, valkey: Redis
) -> None:
    await make_model()
    before = await rows(store)
    answer = await client.put("/deployments/chat", params=_DRY, json=_CHAT)
    assert answer.status_code == 200
    body = answer.json()
    assert body["changed"] is True
    assert body["deployment"]["spec"]["scaling"]["max_replicas"] == 1
    assert (await client.get("/deployments/chat")).status_code == 404
    assert await rows(store) == before
    assert not await Registry(valkey).wait_for_bell(0.01)


async def test_a_dry_run_of_a_change_leaves_generation_spec_and_revision_alone(
    client: httpx.AsyncClient, make_model: MakeModel, store: Database
) -> None:
    await make_model()
    await client.put("/deployments/chat", json=_CHAT)
    kept = (await client.get("/deployments/chat")).json()
    before = await rows(store)
    wanted = {**_CHAT, "scaling": {"max_replicas": 3}, "engine": {"exact": True}}
    body = (await client.put("/deployments/chat", params=_DRY, json=wanted)).json()
    assert body["changed"] is True
    assert body["deployment"]["spec"]["scaling"]["max_replicas"] == 3
    assert body["deployment"]["generation"] == 2
    assert body["deployment"]["revision"]["id"] != kept["revision"]["id"]
    assert (await client.get("/deployments/chat")).json() == kept
    assert await rows(store) == before


async def test_a_dry_run_refuses_what_a_deploy_would_refuse(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    wrong = {**_CHAT, "scaling": {"min_replicas": 5, "max_replicas": 3}}
    dry = await client.put("/deployments/chat", params=_DRY, json=wrong)
    wet = await client.put("/deployments/chat", json=wrong)
    assert dry.status_code == wet.status_code == 422
    assert dry.json()["errors"] == wet.json()["errors"]


async def test_a_deploy_after_its_dry_run_is_what_was_shown(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    await client.put("/deployments/chat", json=_CHAT)
    wanted = {**_CHAT, "scaling": {"min_replicas": 1}}
    dry = (await client.put("/deployments/chat", params=_DRY, json=wanted)).json()
    wet = (await client.put("/deployments/chat", json=wanted)).json()
    for answer in (dry, wet):
        answer["deployment"].pop("updated_at")
        answer.pop("preview")
    assert dry == wet


async def test_a_dry_run_tells_what_it_would_run_on_cost_and_take(
    client: httpx.AsyncClient, make_model: MakeModel
) -> None:
    await make_model()
    body = (await client.put("/deployments/chat", params=_DRY, json=_CHAT)).json()
    assert body["preview"] == {
        "cloud": "local",
        "machines": [
            {
                "instance_type": "this machine",
                "accelerator": "cpu",
                "usd_per_hour": 0.0,
                "devices": 1,
                "usd_per_million_tokens": None,
            }
        ],
        "cheapest_when_busy": None,
        "usd_per_hour_at_min": 0.0,
        "usd_per_hour_at_max": 0.0,
        "cold_start": {"p50_s": 30.0, "p90_s": 120.0, "starts": 0},
        "rollout": None,
    }
    await client.put("/deployments/chat", json=_CHAT)
    other = {**_CHAT, "engine": {"exact": True}, "rollout": {"strategy": "canary"}}
    body = (await client.put("/deployments/chat", params=_DRY, json=other)).json()
    assert body["preview"]["rollout"]["steps"] == [5, 25, 100]
