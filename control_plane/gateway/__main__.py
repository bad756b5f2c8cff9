"""`python -m control_plane.gateway`: one gateway process."""

from __future__ import annotations

from control_plane.gateway.app import build_gateway, end_requests
from control_plane.http.server import serve
from infra.metrics.port import start_metrics
from infra.process_settings import process_settings
from infra.telemetry import configure_logging
from infra.tracing.setup import start_tracing


def main() -> None:
    settings = process_settings()
    configure_logging("gateway", settings.log_level)
    start_metrics(settings, "gateway")
    start_tracing("gateway", settings)
    app = build_gateway(settings)
    serve(app, settings, settings.drain_limit_s, lambda: end_requests(app))


if __name__ == "__main__":
    main()
