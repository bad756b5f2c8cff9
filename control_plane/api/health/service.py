from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from control_plane.api.context import Context
from control_plane.api.problem import Problem

_ANSWER_LIMIT_S = 3.0


async def check(context: Context) -> None:
    """Raises Problem 503: something that every request needs does not answer."""
    parts = {
        "the database": context.database.check(),
        "the jobs Redis": context.jobs.ping(),
        "the tokens Redis": context.tokens.ping(),
    }
    answers = await asyncio.gather(*(_answers(each) for each in parts.values()))
    silent = [part for part, answered in zip(parts, answers, strict=True) if not answered]
    if silent:
        detail = f"{' and '.join(silent)} does not answer"
        raise Problem(503, "not-ready", detail, headers={"retry-after": "1"})


async def _answers(question: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            await question
    except (RedisError, SQLAlchemyError, OSError):  # TimeoutError is an OSError
        return False
    return True
