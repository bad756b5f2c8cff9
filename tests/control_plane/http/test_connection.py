"""Clients that send too little, too much or nothing, that do not read, or that leave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from control_plane.http import connection
from control_plane.http.connection import (
    CLIENT_GONE,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    SLOW_CLIENT,
    why_gone,
)
from infra.settings import Settings
from tests.fixtures.served import Served, served
from tests.fixtures.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nhost: t\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nhost: t\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: t\r\n"
PIECE = b"x" * 65536
READ_LIMIT_S = 10.0


class Application:
    """`/` answers at once, `/wait` when the client has gone, `/flood` writes for ever."""

    def __init__(self) -> None:
        self.running = 0
        self.gone: list[str] = []
        self.flooded_bytes = 0
        self.app = Starlette(
            routes=[
                Route("/", self._echo, methods=["GET", "POST"]),
                Route("/wait", self._wait),
                Route("/flood", self._flood),
            ]
        )

    async def _echo(self, request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def _wait(self, request: Request) -> Response:
        self.running += 1
        await request.receive()  # the body, which is empty
        await request.receive()
        self.gone.append(why_gone(request.scope))
        return PlainTextResponse("nobody reads this")

    async def _flood(self, request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            while not await request.is_disconnected():
                self.flooded_bytes += len(PIECE)
                yield PIECE
            self.gone.append(why_gone(request.scope))

        return StreamingResponse(body())


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application, tmp_path: Path) -> AsyncIterator[Served]:
    settings = Settings(home=tmp_path, receive_limit_s=0.3, send_limit_s=0.3)
    async with served(application.app, settings) as server:
        yield server


async def _ask(server: Served, *parts: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for part in parts:
            writer.write(part)
        async with asyncio.timeout(READ_LIMIT_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "head", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nhost: t\r\nx-half: "]
)
async def test_a_head_that_does_not_come_is_a_408(server: Served, head: bytes) -> None:
    assert (await _ask(server, head)).startswith(b"HTTP/1.1 408 ")


async def test_a_second_head_that_does_not_come_is_a_408_after_the_first_answer(
    server: Served,
) -> None:
    said = await _ask(server, GET + b"GET / HT")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in said


@pytest.mark.parametrize(
    "filling",
    [
        b"x-long: " + b"x" * MAX_HEAD_BYTES,
        b"".join(b"x-%d: x\r\n" % number for number in range(MAX_HEAD_BYTES // 8)),
    ],
)
async def test_a_head_without_end_is_a_431(server: Served, filling: bytes) -> None:
    assert (await _ask(server, POST, filling)).startswith(b"HTTP/1.1 431 ")


async def test_trailers_without_end_end_the_connection(server: Served) -> None:
    chunked = b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    assert b"200" not in await _ask(server, POST, chunked, b"x-t: " + b"t" * (16 * MAX_HEAD_BYTES))


async def test_a_client_that_does_not_read_is_cut_off(
    server: Served, application: Application
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: t\r\n\r\n")
        await wait_until(lambda: application.gone, "the client is cut off")
        assert application.gone == [SLOW_CLIENT]
        # What the kernel holds for both ends, and one piece of ours: not all that was to be said.
        assert application.flooded_bytes < 64 << 20


async def test_a_client_that_leaves_is_noticed_though_it_has_pipelined(
    server: Served, application: Application
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(WAIT + GET)
    await wait_until(lambda: application.running, "the first request runs")
    writer.close()
    await wait_until(lambda: application.gone, "it has heard that the client left")
    assert application.gone == [CLIENT_GONE]


async def test_pipelined_requests_are_answered_in_their_order(server: Served) -> None:
    bodies = b"".join(
        POST + b"content-length: %d\r\n\r\n" % size + b"x" * size for size in range(MAX_PIPELINED)
    )
    said = await _ask(server, bodies, b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
    answers = [part.rpartition(b"\r\n\r\n")[2] for part in said.split(b"HTTP/1.1 200 OK")[1:]]
    assert answers == [str(size).encode() for size in (*range(MAX_PIPELINED), 0)]


async def test_a_client_whom_the_kernel_gives_up_first_was_too_slow_all_the_same(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = connection._bound
    monkeypatch.setattr(connection, "_bound", lambda peer, _: bound(peer, 0.2))
    settings = Settings(home=tmp_path, send_limit_s=30.0)
    async with served(application.app, settings) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /flood HTTP/1.1\r\nhost: t\r\n\r\n")
            await wait_until(lambda: application.gone, "the client is cut off")
    assert application.gone == [SLOW_CLIENT]


async def test_a_client_that_reads_slowly_but_steadily_is_served_to_the_end(
    server: Served, application: Application
) -> None:
    """It takes less in its time than makes room for a write."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(READ_LIMIT_S)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: t\r\n\r\n")
        for _ in range(40):
            assert await asyncio.to_thread(client.recv, 2048)
            await asyncio.sleep(0.05)
        assert application.gone == []


@pytest.mark.parametrize(
    "flood",
    [GET * (MAX_PIPELINED + 2), POST + b"content-length: 1000000\r\n\r\n" + b"x" * 200_000],
)
async def test_a_flood_of_pipelined_requests_ends_what_runs(
    server: Served, application: Application, flood: bytes
) -> None:
    assert await _ask(server, WAIT, flood) == b""
    await wait_until(lambda: application.gone, "the request has heard that its client is gone")
    assert application.running == 1


async def test_an_upgrade_is_not_taken_up(server: Served) -> None:
    upgrade = b"connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    said = await _ask(server, b"GET / HTTP/1.1\r\nhost: t\r\n" + upgrade + key)
    assert said.startswith(b"HTTP/1.1 200 ")
