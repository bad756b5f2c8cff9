"""A span for each request of the inference API, from its arrival to the last byte of its answer."""

from __future__ import annotations

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.http.metrics import route_template
from control_plane.http.request_id import arrived_at_s, request_id
from infra.tracing.span import is_recording, request_span

_TRACED = frozenset(("POST",))
"""What is looked at (health, models, metrics) would hide what is asked."""


class Traced:
    """ASGI middleware inside `RequestId`. A client's `traceparent` is taken over, and every line
    that is logged meanwhile carries the trace's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_recording() or scope["type"] != "http" or scope["method"] not in _TRACED:
            await self._app(scope, receive, send)
            return
        status = 0

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        caller = Headers(scope=scope).get("traceparent", "")
        method = scope["method"]
        about = {"request_id": request_id(scope)}
        with request_span(method, round(arrived_at_s(scope) * 1e9), caller, about) as span:
            span.set_attribute("http.request.method", method)
            trace_id = f"{span.get_span_context().trace_id:032x}"
            try:
                with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                    await self._app(scope, receive, noted_send)
            finally:
                route = route_template(scope)
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
