"""Functions of ours inside Redis: loaded when they are first needed, and called by name.

Library and functions carry a digest of the source in their names, so that two builds of Tamer can
use one Redis side by side, and a server that kept an older library is never asked to run it.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from redis.exceptions import ResponseError

from infra.connection import RedisClient, at_key


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
