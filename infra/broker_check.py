"""Does the Redis of TAMER_BROKER_URL answer? Nothing is launched or imported while it does not."""

from __future__ import annotations

import asyncio

from infra.connection import REDIS_AWAY, connect
from infra.redis_trouble import advice, said_by, wrong_url
from infra.redis_url import parse_redis_url
from infra.settings import Settings

_SETTING = "TAMER_BROKER_URL"
_ANSWER_LIMIT_S = 5.0


async def broker_trouble(settings: Settings) -> str | None:
    """What is wrong with the user's own broker and what to do; None where it answers, or where the
    embedded one is used."""
    if not settings.broker_url:
        return None
    try:
        place, redis = parse_redis_url(settings.broker_url).place, connect(settings.broker_url)
    except ValueError as error:
        return f"{_SETTING}: {error}"
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            await redis.ping()
    except REDIS_AWAY as error:
        said = f"the broker at {place} does not answer ({said_by(error)}), so nothing is launched"
        return wrong_url(error, _SETTING) or f"{said} or imported: {advice(error, _SETTING)}"
    finally:
        await redis.aclose()
    return None
