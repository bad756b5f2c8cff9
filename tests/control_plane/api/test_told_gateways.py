"""An answer about a key or a deployment is true for gateways too when the client reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from redis.asyncio import Redis

from infra.projection import ProjectionPublisher
from infra.wire import Projection
from tests.control_plane.api.conftest import MakeModel

_FAR = 1 << 60
"""A version above any clock."""

Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


async def _new_key(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/keys", json={"name": "ci", "scopes": ["inference"]})


async def _new_deployment(client: httpx.AsyncClient) -> httpx.Response:
    return await client.put("/deployments/chat", json={"name": "chat", "model": "smollm2"})


@pytest.mark.parametrize("ask", [_new_key, _new_deployment])
async def test_the_answer_waits_for_a_projection_from_after_the_change(
    client: httpx.AsyncClient, valkey: Redis, make_model: MakeModel, ask: Ask
) -> None:
    await make_model()
    publisher = ProjectionPublisher(valkey)
    await publisher.publish(Projection(1))
    asking = asyncio.create_task(ask(client))
    await publisher.publish(Projection(2))
    assert not (await asyncio.wait([asking], timeout=0.3))[0], "only older ones were published"
    await publisher.publish(Projection(_FAR))
    assert (await asking).status_code == 201


async def test_a_revoked_key_is_answered_when_gateways_have_lost_it(
    client: httpx.AsyncClient, valkey: Redis
) -> None:
    key = (await _new_key(client)).json()
    publisher = ProjectionPublisher(valkey)
    await publisher.publish(Projection(1))
    revoking = asyncio.create_task(client.delete(f"/keys/{key['id']}"))
    assert not (await asyncio.wait([revoking], timeout=0.3))[0]
    await publisher.publish(Projection(_FAR))
    assert (await revoking).json()["revoked_at"] is not None


async def test_without_a_controller_the_change_is_answered_all_the_same(
    client: httpx.AsyncClient, valkey: Redis
) -> None:
    await ProjectionPublisher(valkey).publish(Projection(1))
    assert (await _new_key(client)).status_code == 201
