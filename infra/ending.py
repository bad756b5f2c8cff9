"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from typing import Any

_ASK_AGAIN_S = 0.1


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return when all have ended; what they raised is theirs.

    One cancellation may be lost: before Python 3.12 `asyncio.wait_for` swallows one that comes as
    its inner task ends, and redis-py sends every command through it. So we ask until they listen.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_ASK_AGAIN_S)
