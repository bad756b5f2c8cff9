"""Every route is on the list; every route but three, and those for machines, asks for an admin
key."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from infra.keys import hash_secret
from tests.fixtures.database import on_sqlite_alone

pytestmark = on_sqlite_alone

_OPEN = {("GET", "/livez"), ("GET", "/readyz"), ("POST", "/api/v1/instances/join")}
_FOR_MACHINES = {("GET", "/api/v1/model-files/{digest}/{name}")}
"""These ask for the credential of a machine that joined."""
_ROUTES = (
    _OPEN
    | _FOR_MACHINES
    | {
        ("GET", "/metrics"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/status"),
        ("POST", "/api/v1/deployments"),
        ("GET", "/api/v1/deployments"),
        ("GET", "/api/v1/deployments/{name}"),
        ("PUT", "/api/v1/deployments/{name}"),
        ("DELETE", "/api/v1/deployments/{name}"),
        ("PUT", "/api/v1/deployments/{name}/override"),
        ("DELETE", "/api/v1/deployments/{name}/override"),
        ("GET", "/api/v1/deployments/{name}/decisions"),
        ("GET", "/api/v1/deployments/{name}/reason"),
        ("GET", "/api/v1/deployments/{name}/cold-starts"),
        ("GET", "/api/v1/deployments/{name}/replicas"),
        ("GET", "/api/v1/deployments/{name}/rollout"),
        ("POST", "/api/v1/deployments/{name}/rollout/promote"),
        ("POST", "/api/v1/deployments/{name}/rollout/abort"),
        ("POST", "/api/v1/models"),
        ("GET", "/api/v1/models"),
        ("GET", "/api/v1/models/{name}"),
        ("POST", "/api/v1/models/collections"),
        ("DELETE", "/api/v1/models/{name}"),
        ("POST", "/api/v1/models/{name}/packages"),
        ("GET", "/api/v1/operations"),
        ("GET", "/api/v1/operations/{operation_id}"),
        ("GET", "/api/v1/replicas"),
        ("GET", "/api/v1/replicas/{replica_id}"),
        ("GET", "/api/v1/replicas/{replica_id}/logs"),
        ("GET", "/api/v1/instances"),
        ("GET", "/api/v1/instances/{instance_id}"),
        ("POST", "/api/v1/keys"),
        ("GET", "/api/v1/keys"),
        ("DELETE", "/api/v1/keys/{key_id}"),
        ("GET", "/api/v1/audit"),
        ("POST", "/api/v1/machines"),
        ("GET", "/api/v1/machines"),
        ("DELETE", "/api/v1/machines/{machine_id}"),
        ("GET", "/api/v1/costs"),
        ("GET", "/api/v1/budgets"),
        ("PUT", "/api/v1/budgets/{tenant}"),
        ("DELETE", "/api/v1/budgets/{tenant}"),
        ("GET", "/api/v1/dead-letters"),
        ("POST", "/api/v1/dead-letters/{job_id}/retry"),
    }
)


def _routes(node: object, prefix: str = "") -> set[tuple[str, str]]:
    """Every (method, path) below an application or a router, however it was included."""
    found: set[tuple[str, str]] = set()
    for route in getattr(node, "routes", []):
        inner = getattr(route, "original_router", None)
        if inner is not None:
            found |= _routes(inner, prefix + route.include_context.prefix)
        else:
            methods = getattr(route, "methods", None) or {"ANY"}
            found |= {(method, prefix + route.path) for method in methods}
    return found


def test_every_route_of_the_application_is_on_the_list(app: FastAPI) -> None:
    assert _routes(app) == _ROUTES


def test_openapi_describes_every_route_but_itself_and_metrics(app: FastAPI) -> None:
    described = {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert described == _ROUTES - {("GET", "/api/v1/openapi.json"), ("GET", "/metrics")}


@pytest.mark.parametrize(("method", "path"), sorted(_ROUTES - _OPEN))
async def test_a_route_without_a_key_answers_401(
    anonymous: httpx.AsyncClient, method: str, path: str
) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic d3Jvbmc="}):
        answer = await anonymous.request(method, path, headers=headers, json={})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_an_inference_key_is_forbidden_on_every_route(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await client.post("/keys", json={"name": "chat", "scopes": ["inference"]})
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    for method, path in sorted(_ROUTES - _OPEN - _FOR_MACHINES):
        answer = await anonymous.request(method, path, headers=headers, json={})
        assert (answer.status_code, answer.json()["type"]) == (
            403,
            "urn:tamer:problem:forbidden",
        ), path


async def test_open_routes_need_no_key(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/livez")).json() == {"status": "live"}
    assert (await anonymous.get("/readyz")).json() == {"status": "ready"}
    answer = await anonymous.post("/api/v1/instances/join", json={})
    assert answer.status_code == 422


async def test_the_lookup_hash_itself_is_no_key(anonymous: httpx.AsyncClient) -> None:
    headers = {"authorization": f"Bearer {hash_secret('tamer_test-admin-key')}"}
    assert (await anonymous.get("/api/v1/status", headers=headers)).status_code == 401
