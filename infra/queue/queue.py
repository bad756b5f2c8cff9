"""One revision's job queue: what consumers (gateways) and replicas (agents) may do with it.

Every method is one call of a Redis function (`functions.lua`), so it happens whole or not at all,
and every duration is measured by Redis's own clock.

A job is `queued` until a replica leases it, `leased` until its first renewal with progress makes it
`streaming`. When its lease runs out, or its replica gives it back, it is `orphaned` and waits for
its consumer, who knows which tokens were delivered and offers them again as the next attempt.
The consumer alone settles a job.
"""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from infra import ordering
from infra.connection import RedisClient
from infra.function_library import Call
from infra.queue.functions import call, call_each
from infra.queue.recount import Balance, Recount, recount
from infra.states import JobState, is_final

SHARED = "shared"
PREFILL = "prefill"
_BELL_BATCH = 256


class Taken(Exception):
    """Another consumer has adopted the job since."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A job for the queue."""

    job_id: str
    consumer: str
    spec: bytes
    """An encoded `wire.JobSpec`; deleted when the job is settled."""
    cost_tokens: int
    """KV tokens that the job may need: its prompt and its output limit."""
    prompt_tokens: int
    deadline_s: float
    """A job that is still queued after this time expires."""
    tenant: str = "default"
    priority: int = 0
    """Class of the job; 0 goes first, each further class waits `ordering.AGEING_MS` longer."""
    stage: str = PREFILL
    inbox: str = SHARED
    not_after_s: float = 0.0
    """How long the job stays in an inbox before anybody may take it."""
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Full:
    """The queue holds as many jobs as it may, or the job would wait past its own deadline."""

    retry_after_s: float | None
    """When there may be room, from the rate at which waiting jobs were taken; None: not known."""


@dataclass(frozen=True, slots=True)
class Lease:
    job_id: str
    attempt: int
    nonce: str
    consumer: str
    spec: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """What a replica says of a job it runs; `output_tokens` counts over all attempts."""

    job_id: str
    attempt: int
    nonce: str
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Orphan:
    job_id: str
    attempt: int
    """The attempt that ended."""
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Adopted:
    """A durable job as its new consumer finds it."""

    state: JobState
    attempt: int
    """The newest; of an orphaned job the one that ended."""
    reason: str
    """Why it ended; with a final state."""


@dataclass(frozen=True, slots=True)
class Attended:
    """What a consumer learns when it renews its own lease."""

    orphans: list[Orphan] = field(default_factory=list)
    """Its jobs that wait to be offered again (told until they are)."""
    ended: dict[str, str] = field(default_factory=dict)
    """Its jobs that somebody else settled: id -> "state: reason" (told until acknowledged)."""
    unknown: list[str] = field(default_factory=list)
    """Jobs it believes open that the queue does not have: a crash of Redis lost them."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that failed because every attempt was cut off."""

    job_id: str
    attempts: int
    tenant: str
    cause: str
    """How the last attempt ended (lease_expired, given_back, replica_gone) and on which replica;
    empty where its consumer ended it."""
    durable: bool
    accepted_s: float
    """Epoch seconds of Redis's clock, as `ended_s`."""
    ended_s: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the queue began: they only grow, but for a Redis that has lost its data."""

    accepted_jobs: int = 0
    accepted_prompt_tokens: int = 0
    ended_jobs: int = 0
    """Of those that a replica ever held."""
    ended_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Signals:
    queued: int
    leased: int
    streaming: int
    orphaned: int
    queued_prompt_tokens: int
    oldest_wait_s: float
    idle_s: float
    """Time since a job was last offered or settled; infinite for a queue never used."""
    at_s: float = 0.0
    """When this was told, epoch seconds of Redis's clock."""
    totals: Totals = Totals()

    @property
    def pending(self) -> int:
        return self.queued + self.leased + self.streaming + self.orphaned


def base_key(revision_id: str, shard: int = 0) -> str:
    """The key that all keys of a queue begin with; its braces keep them in one slot."""
    return f"tamer:{{{revision_id}:{shard}}}"


class JobQueue:
    """The queue of one revision. Cheap to make: it holds no connection of its own."""

    def __init__(self, redis: RedisClient, revision_id: str, shard: int = 0) -> None:
        self.revision_id = revision_id
        self._redis = redis
        self._base = base_key(revision_id, shard)

    async def _call(self, function: str, *args: str | int | bytes) -> Any:
        return await call(self._redis, function, self._base, *args)

    # --- consumers ---

    async def offer(self, offer: Offer, max_queued: int) -> JobState | Full:
        """Accept a job. Offering the same id again changes nothing and returns its state."""
        state, retry_ms = await self._call(
            "offer",
            offer.job_id,
            offer.consumer,
            offer.spec,
            offer.cost_tokens,
            offer.prompt_tokens,
            _ms(offer.deadline_s),
            offer.tenant,
            min(max(offer.priority, 0), ordering.CLASSES - 1),
            offer.stage,
            offer.inbox,
            _ms(offer.not_after_s),
            int(offer.durable),
            max_queued,
        )
        if state == b"full":
            return Full(int(retry_ms) / 1000 if retry_ms >= 0 else None)
        return JobState(state.decode())

    async def reoffer(
        self, job_id: str, consumer: str, ended_attempt: int, spec: bytes, max_attempts: int
    ) -> int | None:
        """Queue a job again, ahead of younger ones, because its attempt has ended or must end.

        An attempt that still runs is fenced and told to stop. Returns the number of the next
        attempt; None when the job has ended, has moved on from `ended_attempt`, or has had
        `max_attempts` and is now failed (a dead letter). Attempts that an adoption ended do not
        count, up to a limit of their own.
        """
        attempt = await self._call("reoffer", job_id, consumer, ended_attempt, spec, max_attempts)
        return int(attempt) or None

    async def settle(
        self,
        job_id: str,
        consumer: str,
        outcome: JobState,
        reason: str,
        output_tokens: int,
        *,
        stop: bool = True,
    ) -> bool:
        """End a job, once. `stop` tells a running attempt to stop; it is needless after a finish.

        Returns False if the job had already ended (usage was counted then), or is not there: then
        an offer that is late will find that it has ended.
        """
        if not is_final(outcome):
            raise ValueError(f"a job is settled as completed, failed ..., not {outcome.value}")
        return bool(
            await self._call(
                "settle", job_id, consumer, outcome.value, reason, output_tokens, int(stop)
            )
        )

    async def adopt(self, job_id: str, consumer: str, claim: int) -> Adopted | None:
        """Make a durable job the caller's; an attempt that runs is fenced, and the job an orphan.

        `claim` rises with each consumer that takes the job over. None: the queue does not know it.

        Raises:
            Taken: a consumer with a newer claim has it.
        """
        state, attempt, reason = await self._call("adopt", job_id, consumer, claim)
        if state == b"taken":
            raise Taken(f"job {job_id} has been adopted by another consumer")
        if not state:
            return None
        return Adopted(JobState(state.decode()), int(attempt), reason.decode())

    async def attend(
        self,
        consumer: str,
        ttl_s: float,
        acknowledged: Sequence[str] = (),
        still_open: Sequence[str] = (),
    ) -> Attended:
        """Renew the consumer's lease and collect what concerns its jobs; sweeps the queue.

        `acknowledged` names the `ended` jobs of earlier calls that need not be told again;
        `still_open` names jobs whose existence is to be checked.
        """
        orphans, ended, unknown = await self._call(
            "attend", consumer, _ms(ttl_s), len(acknowledged), *acknowledged, *still_open
        )
        return Attended(
            orphans=[
                Orphan(id.decode(), int(attempt), durable == b"1")
                for id, attempt, durable in orphans
            ],
            ended={id.decode(): text.decode() for id, text in _pairs(ended)},
            unknown=[id.decode() for id in unknown],
        )

    # --- replicas ---

    async def lease(
        self, replica_id: str, max_jobs: int, max_tokens: int, ttl_s: float
    ) -> list[Lease]:
        """Take the next jobs that fit into `max_tokens` of KV cache, in `ordering`'s order.

        A head job that does not fit holds its place. When nothing is given out, the replica is
        noted as waiting and the next offer rings its bell.
        """
        nonce = secrets.token_hex(8)
        taken = await self._call(
            "lease", replica_id, PREFILL, max_jobs, max_tokens, _ms(ttl_s), nonce
        )
        return [
            Lease(id.decode(), int(attempt), nonce.decode(), consumer.decode(), spec)
            for id, attempt, nonce, consumer, spec in taken
        ]

    async def renew(self, replica_id: str, progress: Sequence[Progress], ttl_s: float) -> list[str]:
        """Extend leases; returns the ids that this replica no longer holds and must drop."""
        lost = await self._call("renew", replica_id, _ms(ttl_s), *_flat(progress))
        return [id.decode() for id in lost]

    async def give_back(self, replica_id: str, progress: Sequence[Progress]) -> None:
        """Make leased jobs orphans at once, so that their consumers offer them again."""
        if progress:
            await self._call("give_back", replica_id, *_flat(progress))

    async def wait(self, replica_id: str, timeout_s: float) -> list[str]:
        """Block until the bell rings; returns ids of jobs to stop (none: look for work)."""
        bell = f"{self._base}:bell:{replica_id}"
        rung: Any = await self._redis.blmpop(
            timeout_s, 1, bell, direction="LEFT", count=_BELL_BATCH
        )
        if rung is None:
            return []
        return [message[1:].decode() for message in rung[1] if message[:1] == b"s"]

    # --- the controller ---

    async def drop_replica(self, replica_id: str) -> int:
        """A replica is gone: its leases end now and its inbox becomes shared."""
        return int(await self._call("drop_replica", replica_id))

    async def abandon(self, reason: str) -> int:
        """Nobody will serve this queue again: its jobs fail now, and their consumers learn why."""
        return int(await self._call("abandon", reason))

    async def dead_letters(self) -> list[DeadLetter]:
        """Newest first; the oldest are forgotten after a thousand, or after a week."""
        return [
            DeadLetter(
                job_id=job_id.decode(),
                attempts=int(attempts),
                tenant=tenant.decode(),
                cause=cause.decode().strip(),
                durable=durable == b"1",
                accepted_s=int(accepted_ms) / 1000,
                ended_s=int(ended_ms) / 1000,
            )
            for job_id, attempts, tenant, cause, durable, accepted_ms, ended_ms in await self._call(
                "dead"
            )
        ]

    async def forget_dead_letter(self, job_id: str) -> None:
        await self._call("forget_dead", job_id)

    async def sweep(self) -> None:
        """End overdue leases, queue limits and silent consumers."""
        await self._call("sweep")

    async def signals(self) -> Signals:
        return _read_signals(await self._call("signals"))

    async def balance(self) -> Balance:
        counts, *_ = _counted(await self._call("signals"))
        return Balance.of(counts)

    async def recount(self) -> Recount | None:
        """The counters beside what is there, for audits; None for a queue never used."""
        return (await recount(self._redis, [self._base])).get(self._base)


async def survey(redis: RedisClient, revision_ids: Sequence[str]) -> dict[str, Signals]:
    """What the queue of each revision says, after what is overdue in it has ended."""
    bases = [base_key(each) for each in revision_ids]
    await call_each(redis, [Call("sweep", base) for base in bases])
    told = await call_each(redis, [Call("signals", base) for base in bases])
    return {id: _read_signals(each) for id, each in zip(revision_ids, told, strict=True)}


def _read_signals(told: Any) -> Signals:
    counts, oldest_ms, idle_ms, now_ms = _counted(told)
    return Signals(
        queued=counts["queued"],
        leased=counts["leased"],
        streaming=counts["streaming"],
        orphaned=counts["orphaned"],
        queued_prompt_tokens=counts["queued_prompt_tokens"],
        oldest_wait_s=oldest_ms / 1000,
        idle_s=math.inf if idle_ms < 0 else idle_ms / 1000,
        at_s=now_ms / 1000,
        totals=Totals(
            accepted_jobs=counts["accepted"],
            accepted_prompt_tokens=counts["accepted_prompt_tokens"],
            ended_jobs=counts["ended_jobs"],
            ended_output_tokens=counts["ended_output_tokens"],
        ),
    )


def _counted(told: Any) -> tuple[defaultdict[str, int], int, int, int]:
    flat, oldest_ms, idle_ms, now_ms = told
    counts = defaultdict(int, {name.decode(): int(value) for name, value in _pairs(flat)})
    return counts, int(oldest_ms), int(idle_ms), int(now_ms)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _flat(progress: Sequence[Progress]) -> list[str | int]:
    return [
        part
        for each in progress
        for part in (each.job_id, each.attempt, each.nonce, each.output_tokens)
    ]


def _pairs(flat: Any) -> list[tuple[bytes, bytes]]:
    """RESP2 sends a map as a flat list, RESP3 as a map."""
    if isinstance(flat, dict):
        return list(flat.items())
    return list(zip(flat[::2], flat[1::2], strict=True))
