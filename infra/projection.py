"""The controller's projection for gateways: routes, keys, limits, and the text side of models."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import zlib
from typing import Any, cast

from infra.connection import RedisClient, StreamEntry, at_key
from infra.latest import Latest
from infra.wire import Malformed, Projection, TextAssets, decode, encode

_PROJECTION = "tamer:projection"
_TEXT = "tamer:text:"
_SILENT_MS = 5_000
"""A projection that was not repeated for this long has no controller behind it."""
_LOOK_S = 0.5


def text_digest(assets: TextAssets) -> str:
    return hashlib.sha256(encode(assets)).hexdigest()


class ProjectionPublisher:
    """The controller's side. Publishing again the same content tells gateways it is still true."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs
        self._latest = Latest(jobs, _PROJECTION)

    async def publish(self, projection: Projection) -> None:
        await self._latest.publish(encode(projection))

    async def has_text(self, digest: str) -> bool:
        return bool(await self._jobs.exists(_TEXT + digest))

    async def publish_text(self, assets: TextAssets) -> str:
        """Store the text side of a model under its digest, and return the digest."""
        digest = text_digest(assets)
        await self._jobs.set(_TEXT + digest, zlib.compress(encode(assets), level=6))
        return digest

    async def drop_text(self, digest: str) -> None:
        await self._jobs.delete(_TEXT + digest)


class ProjectionReader:
    """A gateway's side."""

    def __init__(self, jobs: RedisClient) -> None:
        self._jobs = jobs
        self._latest = Latest(jobs, _PROJECTION)

    async def next(self, timeout_s: float) -> Projection | None:
        """The newest projection not seen yet; None when the time runs out."""
        body = await self._latest.next(timeout_s)
        return None if body is None else decode(body, Projection)

    async def text(self, digest: str) -> TextAssets | None:
        """The text side of a model; None where the controller has not published it yet.

        Raises:
            Malformed: what lies there is not what the digest names.
        """
        packed: Any = await self._jobs.get(_TEXT + digest)
        if packed is None:
            return None
        try:
            body = zlib.decompress(packed)
        except zlib.error as error:
            raise Malformed(f"text assets {digest}: {error}") from error
        if hashlib.sha256(body).hexdigest() != digest:
            raise Malformed(f"text assets {digest}: content has another digest")
        return decode(body, TextAssets)


async def wait_until_published(jobs: RedisClient, after_version: int, limit_s: float) -> bool:
    """Wait until gateways have a projection above `after_version` (milliseconds of the database).

    Returns False when the time ran out, or at once where no controller publishes.
    """
    latest = Latest(jobs, _PROJECTION)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while await _is_repeated(jobs):
                body = await latest.next(_LOOK_S)
                if body is not None and decode(body, Projection).version > after_version:
                    return True
    return False


async def _is_repeated(jobs: RedisClient) -> bool:
    """By the server's own clock, which numbers the entries of a stream."""
    newest: Any = await jobs.xrevrange(_PROJECTION, count=1)
    if not newest:
        return False
    [(entry, _)] = cast(list[StreamEntry], newest)
    now: tuple[int, int] = await at_key(jobs, _PROJECTION, "TIME")
    seconds, microseconds = now
    return seconds * 1000 + microseconds // 1000 - int(entry.partition(b"-")[0]) < _SILENT_MS
