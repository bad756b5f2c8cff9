"""How every HTTP process of ours is served."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from infra.settings import Settings


def serve(app: ASGIApp, settings: Settings, shutdown_limit_s: float) -> None:
    """Serve until SIGTERM or SIGINT; what is under way then has `shutdown_limit_s` to end.

    Nobody is believed who says that he is a proxy, and logs are `infra.telemetry`'s.
    """
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(shutdown_limit_s)),
    )
