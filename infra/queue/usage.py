"""What jobs that have ended had used, by tenant and hour, as a queue counts it at settlement.

Counts only grow, and lie where the job lay: a reader writes them down as often as it likes, and has
them forgotten when their hour is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.connection import RedisClient
from infra.function_library import Call
from infra.queue.functions import call_each
from infra.queue.queue import base_key

_EPOCH = "epoch"
_FIELDS = {"p": "prompt_tokens", "o": "output_tokens", "j": "jobs"}


@dataclass(frozen=True, slots=True)
class Usage:
    tenant: str
    hour: int
    """Its first epoch second, by Redis's clock."""
    epoch: str
    """Names the data of this Redis: one that has lost it counts from 0 under another name."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    jobs: int = 0


async def read_usage(jobs: RedisClient, revision_ids: Sequence[str]) -> dict[str, list[Usage]]:
    """By revision. Raises RedisError."""
    calls = [Call("used", base_key(each)) for each in revision_ids]
    told = await call_each(jobs, calls)
    return {id: _usages(each) for id, each in zip(revision_ids, told, strict=True)}


async def forget_usage(jobs: RedisClient, before_hour: Mapping[str, int]) -> None:
    """By revision, the hours that need not be told again. Raises RedisError."""
    calls = [
        Call("forget_used", base_key(revision_id), (hour,))
        for revision_id, hour in before_hour.items()
    ]
    await call_each(jobs, calls)


def _usages(told: Any) -> list[Usage]:
    pairs = told.items() if isinstance(told, dict) else zip(told[::2], told[1::2], strict=True)
    fields = {name.decode(): value for name, value in pairs}
    epoch = fields.pop(_EPOCH, b"").decode()
    counts: dict[tuple[int, str], dict[str, int]] = {}
    for name, value in fields.items():
        hour, _, rest = name.partition(":")
        tenant, _, kind = rest.rpartition(":")
        counts.setdefault((int(hour), tenant), {})[_FIELDS[kind]] = int(value)
    return [Usage(tenant, hour, epoch, **each) for (hour, tenant), each in sorted(counts.items())]
