"""`python -m control_plane.api`: serve the API alone."""

from __future__ import annotations

from control_plane.api.app import build_api
from control_plane.http.server import serve
from infra.metrics.port import start_metrics
from infra.process_settings import process_settings
from infra.telemetry import configure_logging


def main() -> None:
    settings = process_settings()
    configure_logging("api", settings.log_level)
    start_metrics(settings, "api")
    serve(build_api(settings), settings, settings.drain_limit_s)


if __name__ == "__main__":
    main()
