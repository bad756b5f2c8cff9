"""`python -m control_plane.api`: serve the API alone."""

from __future__ import annotations

import uvicorn

from control_plane.api.app import build_api
from infra.settings import Settings
from infra.telemetry import configure_logging


def main() -> None:
    settings = Settings()
    configure_logging("api", settings.log_level)
    uvicorn.run(build_api(settings), host=settings.host, port=settings.port, log_config=None)


if __name__ == "__main__":
    main()
