"""Gateways serve from the projection alone. API, controller, store and two gateways are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from tokenizers import Tokenizer

from control_plane.api.app import build_api
from control_plane.store.session import Database
from infra.projection import ProjectionReader
from infra.settings import Settings
from infra.wire import TextAssets
from loadtests.benchmarks.postgres_cluster import PostgresCluster
from tests.control_plane.controller.cell import Cell
from tests.control_plane.gateway.conftest import (
    EOS,
    MODEL,
    TEMPLATE,
    Gateway,
    Replica,
    build_tokenizer,
)
from tests.fixtures.database import on_postgresql_alone, on_sqlite_alone
from tests.fixtures.waiting import eventually

ADMIN_KEY = "tamer_projection-admin"
ASK = {"model": MODEL, "prompt": "x", "max_tokens": 4}


class Plane:
    """Everything between a deployment and an answer, but the worker, whom the test speaks for."""

    def __init__(self, settings: Settings, cell: Cell, jobs: Redis, tokenizer: Tokenizer) -> None:
        self.settings = settings
        self.gateways: list[Gateway] = []
        self._cell = cell
        self._jobs = jobs
        self._tokenizer = tokenizer
        self._stop = asyncio.Event()
        self._controlling: asyncio.Task[None] | None = None
        self._assets = TextAssets(
            tokenizer_json=tokenizer.to_str(),
            chat_template=TEMPLATE,
            eos_token=EOS,
            eos_token_ids=tuple(tokenizer.encode(EOS).ids),
        )
        app = build_api(settings)
        self._app = app
        self.api = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://api/api/v1",
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
        )

    async def run(self) -> AsyncIterator[Plane]:
        model = await self._cell.model(text=self._assets)
        deployment = await self._cell.deploy(model, MODEL)
        self.replica = Replica(self._jobs, self._tokenizer, revision=deployment.revision_id)
        serving = asyncio.create_task(self.replica.serve("ok"))
        async with self._app.router.lifespan_context(self._app):
            self.control()
            for _ in range(2):
                gateway = Gateway(self.settings, self._jobs, self._assets)
                await gateway.start()
                self.gateways.append(gateway)
            yield self
            await self.leave()
            for gateway in self.gateways:
                await gateway.stop()
        serving.cancel()

    def control(self) -> None:
        """A controller begins to work."""
        self._stop.clear()
        self._controlling = asyncio.create_task(self._cell.controller.run(self._stop))

    async def leave(self) -> None:
        """The controller stops."""
        self._stop.set()
        if self._controlling is not None:
            await self._controlling

    async def new_key(self) -> tuple[str, str]:
        """Its id and its secret; the answer means that gateways are told."""
        made = await self.api.post("/keys", json={"name": "chat"})
        assert made.status_code == 201, made.text
        return made.json()["id"], made.json()["secret"]

    async def answers(self, secret: str, status: int) -> None:
        """Every gateway answers with this status (once it has read what it was sent)."""
        for gateway in self.gateways:

            async def answered(gateway: Gateway = gateway) -> bool:
                async with gateway.http(secret) as client:
                    return (await client.post("/v1/completions", json=ASK)).status_code == status

            await eventually(answered, deadline_s=20.0)


@pytest.fixture
def max_age_s() -> float:
    """Of a projection."""
    return 60.0


@pytest.fixture
async def plane(
    migrated_settings: Settings, database: Database, valkey: Redis, max_age_s: float
) -> AsyncIterator[Plane]:
    settings = migrated_settings.model_copy(
        update={"admin_key": SecretStr(ADMIN_KEY), "projection_max_age_s": max_age_s}
    )
    cell = Cell(settings, database, valkey)
    async for plane in Plane(settings, cell, valkey, build_tokenizer()).run():
        yield plane


async def test_a_revoked_key_is_refused_by_every_gateway_once_its_revocation_is_answered(
    plane: Plane, valkey: Redis
) -> None:
    key_id, secret = await plane.new_key()
    _, other = await plane.new_key()
    await plane.answers(secret, 200)
    revoked = await plane.api.delete(f"/keys/{key_id}")
    assert revoked.json()["revoked_at"] is not None
    told = await ProjectionReader(valkey).next(1.0)
    assert told is not None
    assert key_id not in {each.key_id for each in told.keys}, "gateways were told before us"
    await plane.answers(secret, 401)
    await plane.answers(other, 200)


@on_postgresql_alone
async def test_chat_goes_on_while_the_database_is_stopped(
    plane: Plane, postgres: PostgresCluster
) -> None:
    _, secret = await plane.new_key()
    await plane.answers(secret, 200)
    await asyncio.to_thread(postgres.halt)
    try:
        assert (await plane.api.get("/status")).status_code == 503
        for gateway in plane.gateways:
            async with gateway.http(secret) as client:
                assert (await client.post("/v1/completions", json=ASK)).status_code == 200
    finally:
        postgres.resume()
    _, later = await plane.new_key()
    await plane.answers(later, 200)


@on_sqlite_alone
@pytest.mark.parametrize("max_age_s", [3.0])
async def test_a_projection_that_no_controller_confirms_closes_every_gateway_until_one_does(
    plane: Plane,
) -> None:
    _, secret = await plane.new_key()
    await plane.answers(secret, 200)
    await plane.leave()
    await plane.answers(secret, 503)
    plane.control()
    await plane.answers(secret, 200)
