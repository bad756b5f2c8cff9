"""Every response carries `x-request-id`: the client's own where it is sane, else a new one."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADER = "x-request-id"
_STATE = "request_id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(scope: Scope) -> str:
    """The id of a request that went through `RequestId`; empty for one that did not."""
    return str(scope.get("state", {}).get(_STATE, ""))


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
        scope.setdefault("state", {})[_STATE] = chosen

        async def stamped_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[_HEADER] = chosen
            await send(message)

        await self._app(scope, receive, stamped_send)
