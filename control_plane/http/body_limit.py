"""Refuse bodies that are too large, whether they say so or not, or that do not arrive in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Refuse = Callable[[Scope, Receive, Send], Awaitable[None]]

_DRAIN_FACTOR = 8
_DRAIN_LIMIT_S = 5.0


class _TooLarge(Exception):
    pass


class _TooSlow(Exception):
    pass


class BodyLimit:
    """ASGI middleware. `refuse` answers 413 and `refuse_late` 408, in the application's own error
    shape; the latter must close the connection, on which half a request lies.

    What the client of a large body is still sending is read and thrown away for a while before the
    answer: many clients read no answer until they have sent everything, and would see a broken
    connection.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, limit_s: float, refuse: Refuse, refuse_late: Refuse
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._limit_s = limit_s
        self._refuse = refuse
        self._refuse_late = refuse_late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared_bytes(scope) > self._max_bytes:
            await self._drain_and_refuse(scope, receive, send)
            return
        body = _Body(receive, send, self._max_bytes, self._limit_s)
        try:
            await self._app(scope, body.receive, body.send)
        except _TooLarge:
            if not body.answered:
                respond = self._drain_and_refuse if body.more else self._refuse
                await respond(scope, receive, send)
        except _TooSlow:
            if not body.answered:
                await self._refuse_late(scope, receive, send)

    async def _drain_and_refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        left_bytes = self._max_bytes * _DRAIN_FACTOR
        try:
            async with asyncio.timeout(_DRAIN_LIMIT_S):
                while left_bytes > 0:
                    message = await receive()
                    left_bytes -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            pass  # the client is slow; it is told now
        await self._refuse(scope, receive, send)


class _Body:
    """One request on its way to the application, and the answer on its way back."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int, limit_s: float) -> None:
        self._receive = receive
        self._send = send
        self._left_bytes = max_bytes
        self._due_s = asyncio.get_running_loop().time() + limit_s
        self._fault: type[Exception] | None = None
        self.more = True
        self.answered = False

    async def receive(self) -> Message:
        if not self.more:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._due_s):
                message = await self._receive()
        except TimeoutError:
            self._fault = _TooSlow
            raise _TooSlow from None
        self.more = message.get("more_body", False)
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            self._fault = _TooLarge
            raise _TooLarge
        return message

    async def send(self, message: Message) -> None:
        if self._fault is not None and not self.answered:
            raise self._fault  # FastAPI made a 400 of it: ours is the answer
        self.answered = True
        await self._send(message)


def _declared_bytes(scope: Scope) -> int:
    """What Content-Length says; 0 where it is missing or no number (then reading counts)."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0
