"""Loads `functions.lua` into Redis when it is first needed and calls it by name.

Library and functions carry a digest of the source in their names, so that two builds of Tamer can
use one Redis side by side, and a server that kept an older library is never asked to run it.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

_SOURCE = (files("infra.queue") / "functions.lua").read_text()
_NAME = f"tamer_queue_{hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]}"
_LIBRARY = f"#!lua name={_NAME}\n" + _SOURCE.replace("NAME_", f"{_NAME}_")


async def call(redis: Redis, function: str, key: str, *args: str | int | bytes) -> Any:
    """Run one function on the queue that `key` names; its result as Redis sends it."""
    name = f"{_NAME}_{function}"
    try:
        return await redis.fcall(name, 1, key, *args)
    except ResponseError as error:
        if "function not found" not in str(error).lower():
            raise
    await redis.function_load(_LIBRARY, replace=True)
    return await redis.fcall(name, 1, key, *args)
