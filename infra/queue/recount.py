"""Counters of a queue beside what is in it, both of one moment: what `tamer audit` compares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.connection import RedisClient
from infra.queue.functions import call

PENDING_STATES = ("queued", "leased", "streaming", "orphaned")
_SCAN_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Balance:
    """Promise 1: accepted = completed + failed + cancelled + expired + pending."""

    accepted: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    pending: int

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Balance:
        """From the queue's counters; one that is missing is 0."""
        return cls(
            accepted=counts.get("accepted", 0),
            completed=counts.get("completed", 0),
            failed=counts.get("failed", 0),
            cancelled=counts.get("cancelled", 0),
            expired=counts.get("expired", 0),
            pending=sum(counts.get(state, 0) for state in PENDING_STATES),
        )

    def __add__(self, other: Balance) -> Balance:
        return Balance(
            self.accepted + other.accepted,
            self.completed + other.completed,
            self.failed + other.failed,
            self.cancelled + other.cancelled,
            self.expired + other.expired,
            self.pending + other.pending,
        )

    @property
    def missing(self) -> int:
        """Accepted jobs of which nothing is known (negative: ends of jobs never accepted)."""
        ended = self.completed + self.failed + self.cancelled + self.expired
        return self.accepted - ended - self.pending

    @property
    def holds(self) -> bool:
        return self.missing == 0


NOTHING = Balance(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that says something else than the structures it counts."""

    name: str
    counted: int
    found: int


@dataclass(frozen=True, slots=True)
class Recount:
    balance: Balance
    differences: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        return self.balance.holds and not self.differences


async def recount(redis: RedisClient, bases: Iterable[str]) -> dict[str, Recount]:
    """Recount queues by their base keys; one that was never used is left out.

    It looks through the whole key space once, in small steps, for consumers that a queue has
    forgotten while durable jobs of theirs wait. Then one call a queue looks at every pending job.
    """
    consumers = await _consumers(redis)
    found = {base: await _recount_one(redis, base, consumers[base]) for base in bases}
    return {base: each for base, each in found.items() if each is not None}


async def _consumers(redis: RedisClient) -> defaultdict[str, list[str]]:
    """Base key of a queue -> consumers that own unsettled jobs in it."""
    owners: defaultdict[str, list[str]] = defaultdict(list)
    async for key in redis.scan_iter("tamer:{*}:of:*", count=_SCAN_BATCH):
        base, _, consumer = key.decode().partition("}:of:")
        owners[base + "}"].append(consumer)
    return owners


async def _recount_one(redis: RedisClient, base: str, consumers: list[str]) -> Recount | None:
    counts, found = await call(redis, "recount", base, *consumers)
    counted = _numbers(counts)
    if not counted:
        return None
    return Recount(Balance.of(counted), tuple(_differences(counted, _numbers(found))))


def _differences(counted: Mapping[str, int], found: Mapping[str, int]) -> Iterable[Difference]:
    """`found` names its own counters, and `owned`: jobs that some consumer still waits for."""
    gauges = (*PENDING_STATES, "queued_prompt_tokens")
    compared = {name: (counted.get(name, 0), found.get(name, 0)) for name in gauges}
    pending = sum(counted.get(state, 0) for state in PENDING_STATES)
    compared["pending"] = (pending, found.get("owned", 0))
    for name, (said, there) in compared.items():
        if said != there:
            yield Difference(name, said, there)


def _numbers(flat: Any) -> dict[str, int]:
    """RESP2 sends a map as a flat list, RESP3 as a map."""
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): int(value) for name, value in pairs}
