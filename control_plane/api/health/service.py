from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from control_plane.api.context import Context
from control_plane.api.problem import NOT_READY, Problem

_ANSWER_LIMIT_S = 3.0


async def check(context: Context) -> None:
    """Raises Problem 503: something that every request needs does not answer."""
    parts = {
        "the database (TAMER_DATABASE_URL)": context.database.check(),
        "the jobs Redis (TAMER_JOBS_URL)": context.jobs.ping(),
        "the tokens Redis (TAMER_TOKENS_URL)": context.tokens.ping(),
    }
    answers = await asyncio.gather(*(_answers(each) for each in parts.values()))
    silent = [part for part, answered in zip(parts, answers, strict=True) if not answered]
    verb = "does" if len(silent) == 1 else "do"
    detail = f"{' and '.join(silent)} {verb} not answer" if silent else ""
    context.readiness.note(detail)
    if detail:
        raise Problem(503, NOT_READY, detail, headers={"retry-after": "1"})


async def _answers(question: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            await question
    except (RedisError, SQLAlchemyError, OSError):  # TimeoutError is an OSError
        return False
    return True
