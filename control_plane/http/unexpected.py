"""What nobody foresaw is logged with its request id, and answered in the application's shape."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.http.body_limit import Refuse
from infra.telemetry import logger

_log = logger(__name__)


class Unexpected:
    """ASGI middleware inside `RequestId`, so that its answer carries the id.

    Once a response has begun nothing else can be said: the connection is cut, and the client sees
    that the answer is not whole.
    """

    def __init__(self, app: ASGIApp, answer: Refuse) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted_send)
        except ClientDisconnect:
            return  # in the middle of its own request: nobody is left to be answered
        except Exception:
            _log.exception("request failed", path=scope["path"])
            if started:
                raise
            await self._answer(scope, receive, send)
