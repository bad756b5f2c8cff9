"""One revision's job queue: what consumers (gateways) and replicas (agents) may do with it.

Every method is one call of a Redis function (`functions.lua`), so it happens whole or not at all,
and every duration is measured by Redis's own clock.

A job is `queued` until a replica leases it, `leased` until its first renewal with progress makes it
`streaming`. When its lease runs out, or its replica gives it back, it is `orphaned` and waits for
its consumer, who knows which tokens were delivered and offers them again as the next attempt.
The consumer alone settles a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from redis.asyncio import Redis

from infra.states import JobState

SHARED = "shared"
PREFILL = "prefill"


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


class Refused(StrEnum):
    FULL = "full"
    """The queue holds as many waiting jobs as it may."""


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


@dataclass(frozen=True, slots=True)
class Attended:
    """What a consumer learns when it renews its own lease."""

    orphans: list[Orphan] = field(default_factory=list)
    """Its jobs that wait to be offered again (told until they are)."""
    ended: dict[str, str] = field(default_factory=dict)
    """Its jobs that somebody else settled: id -> "state: reason" (told once)."""


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

    @property
    def pending(self) -> int:
        return self.queued + self.leased + self.streaming + self.orphaned


@dataclass(frozen=True, slots=True)
class Balance:
    """Promise 1: accepted = completed + failed + cancelled + expired + pending."""

    accepted: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    pending: int

    @property
    def holds(self) -> bool:
        ended = self.completed + self.failed + self.cancelled + self.expired
        return self.accepted == ended + self.pending


class JobQueue:
    """The queue of one revision. Cheap to make: it holds no connection of its own."""

    def __init__(self, redis: Redis, revision_id: str, shard: int = 0) -> None: ...

    # --- consumers ---

    async def offer(self, offer: Offer, max_queued: int) -> JobState | Refused:
        """Accept a job. Offering the same id again changes nothing and returns its state."""

    async def reoffer(
        self, job_id: str, consumer: str, ended_attempt: int, spec: bytes, max_attempts: int
    ) -> int | None:
        """Queue an orphan again, ahead of younger jobs.

        Returns the number of the next attempt; None when the job is no longer an orphan of
        `ended_attempt`, or has had `max_attempts` and is now failed (a dead letter).
        """

    async def settle(
        self, job_id: str, consumer: str, outcome: JobState, reason: str, output_tokens: int
    ) -> bool:
        """End a job, once; a running attempt is told to stop.

        Returns False if it had already ended (usage was counted then).
        """

    async def attend(self, consumer: str, ttl_s: float) -> Attended:
        """Renew the consumer's lease and collect what concerns its jobs; sweeps the queue."""

    # --- replicas ---

    async def lease(
        self, replica_id: str, max_jobs: int, max_tokens: int, ttl_s: float
    ) -> list[Lease]:
        """Take the next jobs that fit into `max_tokens` of KV cache, in `ordering`'s order.

        A head job that does not fit holds its place. When nothing is given out, the replica is
        noted as waiting and the next offer rings its bell.
        """

    async def renew(self, replica_id: str, progress: Sequence[Progress], ttl_s: float) -> list[str]:
        """Extend leases; returns the ids that this replica no longer holds and must drop."""

    async def give_back(self, replica_id: str, progress: Sequence[Progress]) -> None:
        """Make leased jobs orphans at once, so that their consumers offer them again."""

    async def wait(self, replica_id: str, timeout_s: float) -> list[str]:
        """Block until the bell rings; returns ids of jobs to stop (none: look for work)."""

    # --- the controller ---

    async def drop_replica(self, replica_id: str) -> int:
        """A replica is gone: its leases end now and its inbox becomes shared."""

    async def sweep(self) -> None:
        """End overdue leases, queue limits and silent consumers."""

    async def signals(self) -> Signals: ...

    async def balance(self) -> Balance: ...
