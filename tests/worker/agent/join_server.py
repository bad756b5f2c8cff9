"""A real HTTP server that lets agents join, with a life of its own on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.wire import WIRE_VERSION, JoinGrant, JoinRequest
from tests.fixtures.waiting import wait_until


class JoinServer:
    """Knows one-time tokens, each for an instance id; `answers` are given before it looks."""

    def __init__(self, redis_url: str, lease_s: float = 1.0, heartbeat_s: float = 0.1) -> None:
        self.instances: dict[str, str] = {}
        self.answers: list[Response] = []
        self.requests: list[JoinRequest] = []
        self.url = ""
        self.wire_version = WIRE_VERSION
        self.redis_url = redis_url
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s

    async def join(self, request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=JoinRequest)
        self.requests.append(asked)
        if self.answers:
            return self.answers.pop(0)
        instance_id = self.instances.pop(asked.token, None)
        if instance_id is None:
            return Response(b'{"detail": "unknown token"}', 401)
        grant = JoinGrant(
            instance_id=instance_id,
            jobs_url=self.redis_url,
            tokens_url=self.redis_url,
            wire_version=self.wire_version,
            heartbeat_s=self._heartbeat_s,
            lease_s=self._lease_s,
        )
        return Response(msgspec.json.encode(grant), media_type="application/json")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[JoinServer]:
        app = Starlette(routes=[Route("/api/v1/instances/join", self.join, methods=["POST"])])
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
        )
        serving = asyncio.create_task(server.serve())
        await wait_until(lambda: server.started, "the join server is up")
        port = server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            server.should_exit = True
            await serving
