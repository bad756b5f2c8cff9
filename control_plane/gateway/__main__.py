"""`python -m control_plane.gateway`: one gateway process."""

from __future__ import annotations

import uvicorn

from control_plane.gateway.app import build_gateway
from infra.settings import Settings
from infra.telemetry import configure_logging


def main() -> None:
    settings = Settings()
    configure_logging("gateway", settings.log_level)
    uvicorn.run(
        build_gateway(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_limit_s)),
    )


if __name__ == "__main__":
    main()
