"""What requests came to, per revision: gateways add up, the controller reads.

Sums in Redis, one hash a revision. What a gateway could not write is lost: a sample, not a bill.
Beside them lies a key that gateways renew and Redis lets expire: without it nobody counts, and sums
that stand still mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.connection import RedisClient

FIELDS = ("requests", "errors", "ttft", "ttft_missed", "tpot", "tpot_missed")
"""Requests that ended (not those that their client gave up), of these the failed and expired; those
with a limit to the time to their first token, of these the ones beyond it; the same of the time per
output token."""
HEARD_S = 5.0
"""A gateway that has said nothing for this long is not counted on."""
_KEEP_S = 30 * 86_400
_HEARD = "tamer:outcomes:heard"

Sums = Mapping[str, int]


def _key(revision_id: str) -> str:
    return f"tamer:outcomes:{revision_id}"


async def publish(jobs: RedisClient, news: Mapping[str, Sums]) -> None:
    """Add what has ended since the last time, revision by revision.

    Raises RedisError: some of it may have been added.
    """
    async with jobs.pipeline(transaction=False) as pipe:
        for revision_id, sums in news.items():
            for field, count in sums.items():
                if count:
                    pipe.hincrby(_key(revision_id), field, count)
            pipe.expire(_key(revision_id), _KEEP_S)
        pipe.set(_HEARD, b"1", px=int(HEARD_S * 1000))
        await pipe.execute()


async def read(jobs: RedisClient, revision_ids: Iterable[str]) -> dict[str, dict[str, int]] | None:
    """The sums of each revision since it first served; None where no gateway counts.

    Raises RedisError.
    """
    ids = list(revision_ids)
    async with jobs.pipeline(transaction=False) as pipe:
        pipe.exists(_HEARD)
        for each in ids:
            pipe.hgetall(_key(each))
        heard, *bodies = await pipe.execute()
    if not heard:
        return None
    return {each: _sums(body) for each, body in zip(ids, bodies, strict=True)}


def _sums(body: Mapping[bytes, bytes]) -> dict[str, int]:
    return {field: int(body.get(field.encode(), 0)) for field in FIELDS}
