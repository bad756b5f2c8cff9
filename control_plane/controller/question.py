"""What a pass asks of a cloud without waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from infra.ending import end_tasks

Answer = TypeVar("Answer")

_MOMENT_S = 0.1


class Question(Generic[Answer]):
    """One at a time, asked beside the passes until it is answered; it belongs to its event loop.

    A pass waits a moment for what it has just asked, and not at all for what a pass before it has
    asked: a cloud that takes questions and answers none costs one moment, however many passes there
    are meanwhile.
    """

    def __init__(self, ask: Callable[[], Awaitable[Answer]], moment_s: float | None = None) -> None:
        """`moment_s`: of who is not a pass and may wait for longer."""
        self._ask = ask
        self._moment_s = moment_s
        self._asking: asyncio.Task[Answer] | None = None

    @property
    def is_asked(self) -> bool:
        """And its answer has not been taken."""
        return self._asking is not None

    @property
    def is_open(self) -> bool:
        """Asked and not answered."""
        return self._asking is not None and not self._asking.done()

    async def put(self, *, patient: bool = True) -> None:
        """Ask, unless it is asked already; who is not patient does not wait the moment."""
        if self._asking is None:
            self._asking = asyncio.create_task(_awaited(self._ask))
            if patient:
                moment_s = _MOMENT_S if self._moment_s is None else self._moment_s
                await asyncio.wait({self._asking}, timeout=moment_s)

    def take(self) -> Answer | None:
        """The answer, once; None: there is none yet. Raises what asking raised, once too."""
        if self._asking is None or not self._asking.done():
            return None
        asking, self._asking = self._asking, None
        return asking.result()

    async def close(self) -> None:
        if self._asking is not None:
            await end_tasks(self._asking)


async def _awaited(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    return await ask()
