"""The controller's projection for gateways: routes, keys, limits, and the text side of models."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

from redis.asyncio import Redis

from infra.latest import Latest
from infra.wire import Malformed, Projection, TextAssets, decode, encode

_PROJECTION = "tamer:projection"
_TEXT = "tamer:text:"


def text_digest(assets: TextAssets) -> str:
    return hashlib.sha256(encode(assets)).hexdigest()


class ProjectionPublisher:
    """The controller's side. Publishing again the same content tells gateways it is still true."""

    def __init__(self, jobs: Redis) -> None:
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

    def __init__(self, jobs: Redis) -> None:
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
