"""Middleware that the gateway and the API share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from control_plane.http.body_limit import BodyLimit
from control_plane.http.request_id import RequestId
from control_plane.http.unexpected import Unexpected

MAX_BYTES = 1000
LIMIT_S = 0.2


async def too_large(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("too large", 413)(scope, receive, send)


async def too_late(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("too late", 408)(scope, receive, send)


async def failed(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("failed", 500)(scope, receive, send)


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def wait_for_the_client_to_leave(request: Request) -> Response:
    await request.body()
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * LIMIT_S):
            await request.receive()
    return PlainTextResponse("gone")


async def broken(request: Request) -> Response:
    raise KeyError("a bug")


async def broken_later(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"some"
        raise KeyError("a bug")

    return StreamingResponse(body())


def client() -> httpx.AsyncClient:
    app = Starlette(
        routes=[
            Route("/length", length, methods=["POST"]),
            Route("/slow", wait_for_the_client_to_leave, methods=["POST"]),
            Route("/broken", broken),
            Route("/later", broken_later),
        ],
        middleware=[
            Middleware(RequestId),
            Middleware(Unexpected, answer=failed),
            Middleware(
                BodyLimit,
                max_bytes=MAX_BYTES,
                limit_s=LIMIT_S,
                refuse=too_large,
                refuse_late=too_late,
            ),
        ],
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def pieces(total_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(total_bytes // 100):
        yield b"x" * 100


async def test_a_body_of_exactly_the_limit_passes() -> None:
    async with client() as http:
        assert (await http.post("/length", content=b"x" * MAX_BYTES)).text == str(MAX_BYTES)
        assert (await http.post("/length", content=pieces(MAX_BYTES))).text == str(MAX_BYTES)


async def test_a_larger_body_is_refused_declared_or_not() -> None:
    async with client() as http:
        assert (await http.post("/length", content=b"x" * (MAX_BYTES + 1))).status_code == 413
        assert (await http.post("/length", content=pieces(5 * MAX_BYTES))).status_code == 413


async def test_a_body_that_does_not_arrive_is_refused() -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async with client() as http:
        assert (await http.post("/length", content=half())).status_code == 408


async def test_an_answer_may_take_longer_than_the_body() -> None:
    async with client() as http:
        assert (await http.post("/slow", content=b"abc")).text == "gone"


async def test_a_content_length_that_is_no_number_is_not_believed() -> None:
    async with client() as http:
        for odd in ("9" * 5000, "-5", "x"):
            reply = await http.post("/length", content=b"abc", headers={"content-length": odd})
            assert reply.status_code == 200


async def test_a_bug_is_answered_with_the_request_id() -> None:
    async with client() as http:
        reply = await http.get("/broken", headers={"x-request-id": "abc"})
    assert (reply.status_code, reply.text) == (500, "failed")
    assert reply.headers["x-request-id"] == "abc"


async def test_a_bug_after_the_response_began_does_not_answer_twice() -> None:
    async with client() as http:
        reply = await http.get("/later")
    assert reply.status_code == 200
    assert reply.text == "some"
