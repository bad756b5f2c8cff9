"""Calls to Redis that may be made again: repeated until Redis has taken them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from infra.backoff import Backoff
from infra.connection import REDIS_AWAY
from infra.telemetry import logger

_log = logger(__name__)
_FIRST_RETRY_S, _LAST_RETRY_S = 0.05, 1.0

T = TypeVar("T")


async def until_taken(what: str, call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that changes nothing when it is made twice, until it succeeds.

    Args:
        what: cannot be reached meanwhile, as the log says it.
    """
    backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S)
    while True:
        try:
            return await call()
        except REDIS_AWAY as error:
            _log.warning(f"{what} cannot be reached", error=str(error))
            await backoff.pause()
