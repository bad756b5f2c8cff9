"""Tokens from workers back to consumers: one stream per consumer, one message per engine step.

The stream is bounded and volatile. Losing part of it shows as a gap in the indexes of a job, and a
gap is handled like an expired lease: the consumer offers the job again from what it has delivered.
"""

from __future__ import annotations

from infra.connection import RedisClient, read_stream
from infra.wire import StepTokens, decode, encode

_FIELD = b"step"
_MAX_MESSAGES = 20_000
_IDLE_S = 600


def _key(consumer: str) -> str:
    return f"tamer:tokens:{consumer}"


class TokenWriter:
    """A replica's side."""

    def __init__(self, tokens: RedisClient) -> None:
        self._tokens = tokens

    async def write(self, steps: dict[str, StepTokens]) -> None:
        """Send each consumer its part of a step, in one round trip."""
        async with self._tokens.pipeline(transaction=False) as pipe:
            for consumer, step in steps.items():
                key = _key(consumer)
                pipe.xadd(key, {_FIELD: encode(step)}, maxlen=_MAX_MESSAGES, approximate=True)
                pipe.expire(key, _IDLE_S)
            await pipe.execute()


class TokenReader:
    """A consumer's side; the consumer's id must be new at each start of its process."""

    def __init__(self, tokens: RedisClient, consumer: str) -> None:
        self._tokens = tokens
        self._key = _key(consumer)
        self._seen = b"0"

    async def read(self, timeout_s: float, count: int = 512) -> list[StepTokens]:
        """The next messages, oldest first; empty when the time runs out."""
        entries = await read_stream(self._tokens, self._key, self._seen, count, timeout_s)
        if not entries:
            return []
        self._seen = entries[-1][0]
        return [decode(fields[_FIELD], StepTokens) for _, fields in entries]

    async def close(self) -> None:
        await self._tokens.delete(self._key)
