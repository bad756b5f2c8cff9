"""Any interleaving keeps the promises: a state machine of everything that may happen to jobs.

Time does not pass in it: a lease of no length has run out when the queue next looks, so expiry
happens where the machine wants it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from infra.connection import connect
from infra.embedded import EmbeddedValkey
from infra.queue.queue import JobQueue, Lease, Offer, Progress
from infra.states import JobState
from loadtests.chaos.history import Accepted, Delivered, Ended, Event, check

MAX_ATTEMPTS = 3
LONG_S = 600.0
REPLICAS = ("r1", "r2")
CONSUMERS = ("g1", "g2")
T = TypeVar("T")


class QueueMachine(RuleBasedStateMachine):
    server: EmbeddedValkey
    jobs = Bundle("jobs")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._redis = connect(self.server.url)
        self._do(self._redis.flushall())
        self._queue = JobQueue(self._redis, "rev-machine")
        self._count = 0
        self._consumer: dict[str, str] = {}
        self._claim: dict[str, int] = {}
        """Durable jobs, and how often each was taken over."""
        self._attempt: dict[str, int] = {}
        """The attempt that each open job's consumer listens to."""
        self._delivered: Counter[str] = Counter()
        self._history: list[Event] = []
        for consumer in CONSUMERS:
            self._do(self._queue.attend(consumer, LONG_S))

    def teardown(self) -> None:
        self._settle_all()
        assert check(self._history) == []
        self._do(self._redis.aclose())
        self._loop.close()

    def _do(self, call: Coroutine[Any, Any, T] | Any) -> T:
        result: T = self._loop.run_until_complete(call)
        return result

    # --- consumers ---

    @rule(
        target=jobs,
        consumer=st.sampled_from(CONSUMERS),
        tenant=st.sampled_from(["ada", "bob"]),
        inbox=st.sampled_from(["shared", *REPLICAS]),
        priority=st.integers(0, 3),
        durable=st.booleans(),
    )
    def offer(self, consumer: str, tenant: str, inbox: str, priority: int, durable: bool) -> str:
        job_id = f"job-{self._count}"
        self._count += 1
        wanted = Offer(
            job_id, consumer, b"spec", 10, 10, LONG_S, tenant, priority, inbox=inbox,
            not_after_s=LONG_S, durable=durable,
        )  # fmt: skip
        for _ in range(2):  # a reply may be lost and the call sent again
            assert self._do(self._queue.offer(wanted, 1000)) is JobState.QUEUED
        self._consumer[job_id], self._attempt[job_id] = consumer, 1
        if durable:
            self._claim[job_id] = 1
        self._history.append(Accepted(job_id))
        return job_id

    @rule(consumer=st.sampled_from(CONSUMERS), twice=st.booleans())
    def recover(self, consumer: str, twice: bool) -> None:
        attended = self._do(self._queue.attend(consumer, LONG_S))
        for orphan in attended.orphans:
            assert self._attempt[orphan.job_id] == orphan.attempt
            self._reoffer(orphan.job_id, twice)

    @rule(job_id=jobs, twice=st.booleans())
    def notice_a_gap(self, job_id: str, twice: bool) -> None:
        """The consumer ends the attempt itself, whatever its state."""
        if job_id in self._attempt:
            self._reoffer(job_id, twice)

    def _reoffer(self, job_id: str, twice: bool) -> None:
        ended, consumer = self._attempt[job_id], self._consumer[job_id]
        for _ in range(1 + twice):
            following = self._do(
                self._queue.reoffer(job_id, consumer, ended, b"more", MAX_ATTEMPTS)
            )
        if following is not None:
            assert following == ended + 1
            self._attempt[job_id] = following
        elif ended >= MAX_ATTEMPTS and self._gone(job_id):
            self._end(job_id, JobState.FAILED, "max_attempts")

    def _gone(self, job_id: str) -> bool:
        """Whether the queue refuses to settle it: it has ended."""
        key = f"tamer:{{rev-machine:0}}:job:{job_id}"
        state: Any = self._do(self._redis.hget(key, "state"))
        return bool(state == b"failed")

    @rule(
        job_id=consumes(jobs),
        outcome=st.sampled_from([JobState.COMPLETED, JobState.CANCELLED]),
        twice=st.booleans(),
    )
    def settle(self, job_id: str, outcome: JobState, twice: bool) -> None:
        first = self._settle(job_id, outcome)
        assert first == (job_id in self._attempt), "settled exactly when it had not ended"
        if twice:
            assert not self._settle(job_id, JobState.FAILED)
        if first:
            self._end(job_id, outcome, "done")

    def _settle(self, job_id: str, outcome: JobState) -> bool:
        consumer = self._consumer[job_id]
        count = self._delivered[job_id]
        return self._do(self._queue.settle(job_id, consumer, outcome, "done", count))

    @rule(consumer=st.sampled_from(CONSUMERS))
    def consumer_dies(self, consumer: str) -> None:
        self._do(self._queue.attend(consumer, 0.0))
        self._do(self._queue.sweep())
        theirs = [each for each in self._attempt if self._consumer[each] == consumer]
        for job_id in [each for each in theirs if each not in self._claim]:
            self._end(job_id, JobState.FAILED, "consumer_lost")
        self._do(self._queue.attend(consumer, LONG_S))

    @rule(job_id=jobs, consumer=st.sampled_from(CONSUMERS), twice=st.booleans())
    def adopt(self, job_id: str, consumer: str, twice: bool) -> None:
        if job_id not in self._claim or job_id not in self._attempt:
            return
        before, claim = self._consumer[job_id], self._claim[job_id] + 1
        for _ in range(1 + twice):
            adopted = self._do(self._queue.adopt(job_id, consumer, claim))
        assert adopted is not None
        assert adopted.state in (JobState.QUEUED, JobState.ORPHANED), "nothing speaks meanwhile"
        assert adopted.attempt == self._attempt[job_id]
        self._consumer[job_id], self._claim[job_id] = consumer, claim
        if before != consumer:
            late = self._queue.settle(job_id, before, JobState.COMPLETED, "late", 0)
            assert not self._do(late), "who was silent does not end it"

    def _end(self, job_id: str, outcome: JobState, reason: str) -> None:
        del self._attempt[job_id]
        self._history.append(Ended(job_id, outcome, reason))

    def _settle_all(self) -> None:
        for job_id in list(self._attempt):
            assert self._settle(job_id, JobState.COMPLETED)
            self._end(job_id, JobState.COMPLETED, "done")

    # --- replicas ---

    @rule(target=leases, replica=st.sampled_from(REPLICAS), expired=st.booleans())
    def lease(self, replica: str, expired: bool) -> tuple[str, Lease] | None:
        ttl_s = 0.0 if expired else LONG_S
        for lease in self._do(self._queue.lease(replica, 1, 1000, ttl_s)):
            assert self._attempt[lease.job_id] == lease.attempt, "leases are of current attempts"
            return replica, lease
        return None

    @rule(held=leases)
    def renew_and_speak(self, held: tuple[str, Lease] | None) -> None:
        """What a renewal calls lost may never be current; what it keeps is delivered."""
        if held is None:
            return
        replica, lease = held
        progress = Progress(
            lease.job_id, lease.attempt, lease.nonce, self._delivered[lease.job_id] + 1
        )
        lost = self._do(self._queue.renew(replica, [progress], LONG_S))
        if not lost:
            assert self._attempt.get(lease.job_id) == lease.attempt, "a fenced attempt renewed"
            index = self._delivered[lease.job_id]
            self._history.append(Delivered(lease.job_id, "c", lease.attempt, index))
            self._delivered[lease.job_id] += 1

    @rule(held=leases)
    def give_back(self, held: tuple[str, Lease] | None) -> None:
        if held is not None:
            replica, lease = held
            progress = Progress(lease.job_id, lease.attempt, lease.nonce, 0)
            self._do(self._queue.give_back(replica, [progress]))

    @rule(replica=st.sampled_from(REPLICAS))
    def replica_dies(self, replica: str) -> None:
        self._do(self._queue.drop_replica(replica))

    # --- always ---

    @invariant()
    def the_balance_holds_and_counts_what_is_open(self) -> None:
        balance = self._do(self._queue.balance())
        assert balance.holds
        assert balance.accepted == self._count
        assert balance.pending == len(self._attempt)

    @invariant()
    def nothing_is_kept_of_settled_jobs(self) -> None:
        keys: Any = self._do(self._redis.keys("*:spec:*"))
        assert {key.decode().rpartition(":")[2] for key in keys} == set(self._attempt)


def test_any_interleaving_keeps_the_promises(valkey_server: EmbeddedValkey) -> None:
    QueueMachine.server = valkey_server
    run_machine(
        QueueMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_the_machine_notices_a_queue_that_forgets_to_fence(
    valkey_server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine can fail: a queue whose renewals always succeed lets old attempts speak."""

    async def never_lost(*_: Any) -> list[str]:
        return []

    QueueMachine.server = valkey_server
    monkeypatch.setattr(JobQueue, "renew", never_lost)
    with pytest.raises(AssertionError):
        run_machine(
            QueueMachine,
            settings=settings(
                max_examples=500,
                stateful_step_count=40,
                deadline=None,
                phases=[Phase.generate],
            ),
        )
