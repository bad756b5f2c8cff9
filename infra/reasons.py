"""Why a deployment is as it is now: asked by the API, answered by the controller in its next pass.

What a controller concludes changes with every pass, and is stored only where it decides something.
Who wants to know why nothing was decided asks; while nobody does this costs one look a pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from infra.connection import RedisClient
from infra.registry import ring_controller

_ASKED = "tamer:reasons:asked"
_KEEP_MS = 10_000
_LOOK_S = 0.02

Reason = Mapping[str, Any]
"""JSON."""


def _key(deployment_id: str) -> str:
    return f"tamer:reasons:{deployment_id}"


async def ask(jobs: RedisClient, deployment_id: str, limit_s: float) -> Reason | None:
    """None where no controller answers within `limit_s`. Raises RedisError."""
    await jobs.delete(_key(deployment_id))
    await jobs.sadd(_ASKED, deployment_id)
    await jobs.pexpire(_ASKED, _KEEP_MS)
    await ring_controller(jobs)
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        body = await jobs.get(_key(deployment_id))
        if body is not None:
            told: Reason = msgspec.json.decode(body)
            return told
        await asyncio.sleep(_LOOK_S)
    return None


async def asked(jobs: RedisClient) -> set[str]:
    """Deployments, by id. Raises RedisError."""
    found = await jobs.smembers(_ASKED)
    return {each.decode() if isinstance(each, bytes) else each for each in found}


async def answer(jobs: RedisClient, reasons: Mapping[str, Reason]) -> None:
    """By deployment. Raises RedisError."""
    for deployment_id, told in reasons.items():
        await jobs.set(_key(deployment_id), msgspec.json.encode(told), px=_KEEP_MS)
        await jobs.srem(_ASKED, deployment_id)
