"""How every HTTP process of ours is served."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from control_plane.http.connection import Patience, connections
from infra.redis_check import UnfitRedis, check_at_start
from infra.settings import Settings
from infra.telemetry import logger

_LAST_WORDS_S = 3.0
"""Time to write an answer before the connection is closed."""
_log = logger(__name__)


def serve(
    app: ASGIApp,
    settings: Settings,
    shutdown_limit_s: float,
    end_requests: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; what is under way then has `shutdown_limit_s` to end.

    `end_requests` is called shortly before that, to answer what will not end by itself. Nobody is
    believed who says that he is a proxy, and logs are `infra.telemetry`'s. A Redis that would lose
    jobs is refused before anything is served.
    """
    try:
        asyncio.run(check_at_start(settings.jobs, settings.tokens))
    except UnfitRedis as error:
        _log.error(str(error))
        sys.exit(STARTUP_FAILURE)
    config = configure(app, settings, shutdown_limit_s)
    patience_s = max(0.0, shutdown_limit_s - _LAST_WORDS_S)
    server = _Server(config, end_requests or (lambda: None), patience_s)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def configure(app: ASGIApp, settings: Settings, shutdown_limit_s: float) -> uvicorn.Config:
    """uvicorn as every process of ours runs it."""
    patience = Patience(settings.receive_limit_s, settings.send_limit_s)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=connections(patience),  # type: ignore[arg-type]  # whatever makes a protocol will do
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(shutdown_limit_s)),
    )


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, end_requests: Callable[[], None], patience_s: float
    ) -> None:
        super().__init__(config)
        self._end_requests = end_requests
        self._patience_s = patience_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        timer = asyncio.get_running_loop().call_later(self._patience_s, self._end_requests)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()
