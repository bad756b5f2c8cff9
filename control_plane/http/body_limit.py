"""Refuse bodies that are too large, whether they say so or not, before anything parses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Refuse = Callable[[Scope, Receive, Send], Awaitable[None]]

_DRAIN_FACTOR = 8
_DRAIN_LIMIT_S = 5.0


class _TooLarge(Exception):
    pass


class BodyLimit:
    """ASGI middleware; `refuse` answers 413 in the application's own error shape.

    What the client is still sending is read and thrown away for a while before the answer: many
    clients read no answer until they have sent everything, and would see a broken connection.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, refuse: Refuse) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared_bytes(scope) > self._max_bytes:
            await self._drain_and_refuse(scope, receive, send)
            return
        started = exceeded = False
        more = True
        read_bytes = 0

        async def counted_receive() -> Message:
            nonlocal read_bytes, exceeded, more
            message = await receive()
            more = message.get("more_body", False)
            read_bytes += len(message.get("body", b""))
            if read_bytes > self._max_bytes:
                exceeded = True
                raise _TooLarge
            return message

        async def noted_send(message: Message) -> None:
            nonlocal started
            if exceeded and not started:
                raise _TooLarge  # FastAPI made a 400 of it: ours is the answer
            started = True
            await send(message)

        try:
            await self._app(scope, counted_receive, noted_send)
        except _TooLarge:
            if not started:
                respond = self._drain_and_refuse if more else self._refuse
                await respond(scope, receive, send)

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


def _declared_bytes(scope: Scope) -> int:
    """What Content-Length says; 0 where it is missing or no number (then reading counts)."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0
