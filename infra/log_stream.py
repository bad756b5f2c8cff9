"""The last log lines of each replica, kept in Redis so that they outlive its machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from infra.connection import RedisClient, StreamEntry

_FIELD = b"line"
_MAX_LINES = 2_000
_KEEP_S = 24 * 3600


def _key(subject_id: str) -> str:
    return f"tamer:logs:{subject_id}"


async def append_lines(tokens: RedisClient, subject_id: str, lines: Sequence[str]) -> None:
    async with tokens.pipeline(transaction=False) as pipe:
        for line in lines:
            pipe.xadd(_key(subject_id), {_FIELD: line}, maxlen=_MAX_LINES, approximate=True)
        pipe.expire(_key(subject_id), _KEEP_S)
        await pipe.execute()


async def read_lines(
    tokens: RedisClient, subject_id: str, after: str = "0", count: int = 500
) -> tuple[list[str], str]:
    """Lines after a position, oldest first, and the position to go on from."""
    reply: Any = await tokens.xrange(_key(subject_id), min=f"({after}", count=count)
    entries = cast(list[StreamEntry], reply)
    if not entries:
        return [], after
    lines = [fields[_FIELD].decode("utf-8", "replace") for _, fields in entries]
    return lines, entries[-1][0].decode()
