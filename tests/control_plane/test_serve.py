"""One port for the API and the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from control_plane.serve import join_applications
from infra.build import build_name


def part(name: str, life: list[str], ready: int = 200) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        life.append(f"{name} begins")
        yield
        life.append(f"{name} ends")

    app = FastAPI(lifespan=lifespan)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        return JSONResponse({"status": name}, status_code=ready)

    @app.get("/{path:path}")
    async def echo(path: str) -> dict[str, str]:
        return {"part": name, "path": path}

    return app


def client(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),  # type: ignore[arg-type]
        base_url="http://test",
    )


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/api/v1/deployments", "api"),
        ("/api", "api"),
        ("/v1/models", "gateway"),
        ("/apiary", "gateway"),
        ("/livez/x", "gateway"),
    ],
)
async def test_each_path_has_one_owner_and_arrives_whole(path: str, owner: str) -> None:
    async with client(join_applications(part("api", []), part("gateway", []))) as http:
        reply = await http.get(path)
    assert reply.json() == {"part": owner, "path": path[1:]}


async def test_the_root_says_what_this_is_and_where_to_go_on() -> None:
    async with client(join_applications(part("api", []), part("gateway", []))) as http:
        reply = await http.get("/")
    assert reply.status_code == 200
    assert reply.json() == {
        "name": "tamer",
        "version": build_name(),
        "models": "/v1/models",
        "openapi": "/api/v1/openapi.json",
    }


async def test_health_speaks_for_both() -> None:
    async with client(join_applications(part("api", []), part("gateway", []))) as http:
        live, ready = await http.get("/livez"), await http.get("/readyz")
    assert (live.status_code, ready.status_code) == (200, 200)
    assert ready.json() == {"api": {"status": "api"}, "gateway": {"status": "gateway"}}


@pytest.mark.parametrize(("api", "gateway"), [(503, 200), (200, 503)])
async def test_one_part_that_is_not_ready_is_enough(api: int, gateway: int) -> None:
    both = join_applications(part("api", [], api), part("gateway", [], gateway))
    async with client(both) as http:
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200


async def test_both_lifespans_run_inside_the_servers_own() -> None:
    life: list[str] = []
    app = join_applications(part("api", life), part("gateway", life))
    async with app.router.lifespan_context(app):
        assert life == ["api begins", "gateway begins"]
    assert life == ["api begins", "gateway begins", "gateway ends", "api ends"]
