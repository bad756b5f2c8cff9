"""How long HTTP requests took, named as in OpenTelemetry's `http.server.request.duration`."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.metrics.registry import histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

REQUEST_DURATION = histogram(
    "http_server_request_duration_seconds",
    "HTTP requests of gateway and API by route template and status, streams to their last byte.",
    _SECONDS,
    ("method", "route", "status"),
)


class Measured:
    """ASGI middleware. What no route matched, and what never began to answer, is counted too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = time.monotonic(), "none"

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted_send)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
            elapsed_s = time.monotonic() - began_s
            REQUEST_DURATION.labels(method, route_template(scope), status).observe(elapsed_s)


def route_template(scope: Scope) -> str:
    """The path of the route that matched, its routers' prefixes included, with names for values.

    A route of an included router knows only its own part of the path, which is the path's end.
    """
    own: str | None = getattr(scope.get("route"), "path", None)
    if own is None:
        return "unmatched"
    if ":path}" in own:
        return own  # may be more segments than it shows
    prefix = scope["path"].split("/")[: -own.count("/")]
    return "/".join(prefix) + own
