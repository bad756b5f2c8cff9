"""Every response carries `x-request-id`: the client's own where it is sane, else a new one.

Every line that is logged while the request is served carries it too."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADER = "x-request-id"
_STATE = "request_id"
_ARRIVAL = "arrived_at_s"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(scope: Scope) -> str:
    """The id of a request that went through `RequestId`; empty for one that did not."""
    return str(scope.get("state", {}).get(_STATE, ""))


def arrived_at_s(scope: Scope) -> float:
    """When the request's headers had been read, on this process's monotonic clock; now for one that
    did not go through `RequestId`."""
    arrived: float = scope.get("state", {}).get(_ARRIVAL) or time.monotonic()
    return arrived


class RequestId:
    """ASGI middleware; `request_id` reads what it notes in the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(_HEADER, "")
        chosen = given if _SANE.fullmatch(given) else f"req-{secrets.token_hex(12)}"
        state = scope.setdefault("state", {})
        state[_STATE], state[_ARRIVAL] = chosen, time.monotonic()

        async def stamped_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[_HEADER] = chosen
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=chosen):
            await self._app(scope, receive, stamped_send)
