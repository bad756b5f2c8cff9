"""Functions of ours inside Redis: loaded when they are first needed, and called by name.

Library and functions carry a digest of the source in their names, so that two builds of Tamer can
use one Redis side by side, and a server that kept an older library is never asked to run it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from infra.connection import RedisClient, at_key

_CALLS_AT_ONCE = 100
"""Others are served in between."""


class Call(NamedTuple):
    function: str
    key: str
    args: tuple[str | int | bytes, ...] = ()


class FunctionLibrary:
    """The `functions.lua` of one package; each of its functions works on the keys of one slot."""

    def __init__(self, package: str) -> None:
        source = (files(package) / "functions.lua").read_text()
        room = package.rpartition(".")[2]
        self._name = f"tamer_{room}_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        self._code = f"#!lua name={self._name}\n" + source.replace("NAME_", f"{self._name}_")

    async def call(
        self, redis: RedisClient, function: str, key: str, *args: str | int | bytes
    ) -> Any:
        """Run one function on what `key` names; its result as Redis sends it."""
        name = f"{self._name}_{function}"
        try:
            return await at_key(redis, key, "FCALL", name, 1, key, *args)
        except ResponseError as error:
            if "function not found" not in str(error).lower():
                raise
        await at_key(redis, key, "FUNCTION LOAD", "REPLACE", self._code)
        return await at_key(redis, key, "FCALL", name, 1, key, *args)

    async def call_each(self, redis: RedisClient, calls: Sequence[Call]) -> list[Any]:
        """Run many, each on a key of its own, in their order; their results.

        One round trip where one server has all keys.

        Raises:
            RedisError: the first that failed; the others may have run.
        """
        if not isinstance(redis, Redis):
            return [await self.call(redis, each.function, each.key, *each.args) for each in calls]
        results: list[Any] = []
        for first in range(0, len(calls), _CALLS_AT_ONCE):
            results += await self._at_once(redis, calls[first : first + _CALLS_AT_ONCE])
        return results

    async def _at_once(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipe:
            for each in calls:
                name = f"{self._name}_{each.function}"
                pipe.execute_command("FCALL", name, 1, each.key, *each.args)
            found: list[Any] = await pipe.execute(raise_on_error=False)
        for number, result in enumerate(found):
            if isinstance(result, Exception):
                # Once more by itself: a server that does not know the function yet is taught it.
                each = calls[number]
                found[number] = await self.call(redis, each.function, each.key, *each.args)
        return found
