"""This gateway process as a consumer: it owns its jobs' recovery (DESIGN §6).

One task reads the token stream and hands events to their sequences; one attends the queues, where
it learns of orphans and of jobs that others ended. Calls that must happen once (settle, offer
again) run in tasks of their own until Redis has taken them, whatever happens to the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from redis.asyncio import Redis

from control_plane.gateway.delivery import News
from control_plane.gateway.metrics import ATTEMPTS_LOST, REOFFERS
from control_plane.gateway.sequence import Ending, Sequence
from infra.backoff import Backoff
from infra.connection import REDIS_AWAY
from infra.ending import end_tasks
from infra.epoch import Epoch
from infra.queue.queue import Full, JobQueue, Offer, Orphan, Taken
from infra.states import JobState, is_final
from infra.telemetry import logger
from infra.token_stream import TokenReader
from infra.wire import FinishReason, Malformed, TokenEvent, encode

_log = logger(__name__)
_READ_WAIT_S = 1.0
_ATTEND_S = 1.0
_FIRST_RETRY_S, _LAST_RETRY_S = 0.05, 1.0
_OFFER_LIMIT_S = 30.0
_CLOSE_LIMIT_S = 5.0
_CALLS_AT_ONCE = 32

T = TypeVar("T")


class QueueFull(Exception):
    """The queue takes no more now; `retry_after_s` is None where the rate is not known."""

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s


class QueueAway(Exception):
    """Redis did not take the job for as long as a request may wait for that."""


class Consumer:
    """`lease_s`: after this silence the queue ends our jobs."""

    def __init__(self, jobs: Redis, tokens: Redis, lease_s: float, max_attempts: int) -> None:
        self.id = f"gateway-{secrets.token_hex(8)}"
        """New at each start: nobody else's tokens can reach this process."""
        self._jobs = jobs
        self._reader = TokenReader(tokens, self.id)
        self._epoch = Epoch(jobs)
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._open: dict[str, Sequence] = {}
        """Jobs that are not settled yet, as far as this process knows."""
        self._used_at_s: dict[str, float] = {}
        """By revision: when one of its jobs was last open."""
        self._acknowledged: dict[str, list[str]] = {}
        self._offering: dict[str, asyncio.Task[Any]] = {}
        self._reoffering: set[str] = set()
        self._outdated: dict[str, set[str]] = {}
        """By revision: jobs that the queue last told with an attempt older than ours."""
        self._loops: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)

    def start(self) -> None:
        self._loops = [
            asyncio.create_task(self._read_for_ever(), name="token reader"),
            asyncio.create_task(self._attend_for_ever(), name="queue attendant"),
        ]

    async def close(self) -> None:
        """End what is open, tell the queue, and leave no stream behind."""
        self.end_interactive("gateway_stopped")
        if self._errands:
            await asyncio.wait(set(self._errands), timeout=_CLOSE_LIMIT_S)
        await end_tasks(*self._loops, *self._errands)
        with contextlib.suppress(*REDIS_AWAY):
            await self._reader.close()

    @property
    def running(self) -> bool:
        """Whether it still listens; a loop that ended by a bug leaves the gateway deaf."""
        return bool(self._loops) and not any(task.done() for task in self._loops)

    @property
    def open_jobs(self) -> int:
        return len(self._open)

    # --- requests ---

    async def submit(
        self, sequence: Sequence, tenant: str, deadline_s: float, max_queued: int
    ) -> None:
        """Offer a new job, waiting while Redis is away for a moment; a durable
        one outlives us.

        Raises:
            QueueFull, QueueAway: the job does not exist.
        """
        spec = sequence.spec
        offer = Offer(
            job_id=spec.job_id,
            consumer=self.id,
            spec=encode(sequence.next_spec()),
            cost_tokens=len(spec.prompt) + spec.sampling.max_tokens,
            prompt_tokens=len(spec.prompt),
            deadline_s=deadline_s,
            tenant=tenant,
            durable=sequence.durable,
        )
        # Tokens may come before the reply does, so the sequence is known first; and an offer that
        # is on its way is never cut off, so that what ends the job comes after it.
        offering = self._begin(sequence, self._offer(sequence.revision_id, offer, max_queued))
        try:
            await asyncio.shield(offering)
        except QueueFull:
            del self._open[spec.job_id]
            raise
        except QueueAway:
            self.end(sequence, Ending(JobState.CANCELLED, None, "never acknowledged"))
            raise

    async def adopt(self, sequence: Sequence, claim: int) -> bool:
        """Go on with a durable job of a consumer that is gone, from what its log says.

        Returns False where the queue does not know the job.

        Raises:
            Taken: yet another consumer was faster.
        """
        queue, job_id = self._queue(sequence.revision_id), sequence.job_id
        adopting = self._begin(
            sequence, self._until_taken(lambda: queue.adopt(job_id, self.id, claim))
        )
        try:
            found = await asyncio.shield(adopting)
        except Taken:
            self.release(sequence)
            raise
        if found is None or is_final(found.state):
            del self._open[job_id]
            if found is not None:
                lost = found.state is JobState.COMPLETED
                outcome = JobState.FAILED if lost else found.state
                reason = "job_lost" if lost else found.reason
                sequence.end(Ending(outcome, None, reason, retry_helps=True))
            return found is not None
        sequence.delivery.resume(found.attempt)
        if sequence.ending is None and found.state is JobState.ORPHANED:
            self._recover(sequence, found.attempt, "adopted")
        return True

    async def dismiss(self, revision_id: str, job_id: str, claim: int, reason: str) -> None:
        """Fail a durable job of a consumer that is gone."""
        queue = self._queue(revision_id)
        await queue.adopt(job_id, self.id, claim)
        await queue.settle(job_id, self.id, JobState.FAILED, reason, 0)

    def release(self, sequence: Sequence) -> None:
        """Leave a durable job to others: it goes on in the queue, and here it has ended."""
        self._open.pop(sequence.job_id, None)
        sequence.end(Ending(JobState.FAILED, None, "released"))

    def end(self, sequence: Sequence, ending: Ending) -> None:
        """End a job for a reason of ours; nothing where it has ended."""
        if sequence.end(ending):
            self._ended(sequence)

    def _begin(self, sequence: Sequence, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Know a job before the queue's answer that makes it ours."""
        self._open[sequence.job_id] = sequence
        self._used_at_s[sequence.revision_id] = time.monotonic()
        task = asyncio.create_task(call)
        self._offering[sequence.job_id] = task
        task.add_done_callback(lambda done: self._offered(sequence.job_id, done))
        return task

    async def _offer(self, revision_id: str, offer: Offer, max_queued: int) -> None:
        queue = self._queue(revision_id)
        try:
            async with asyncio.timeout(min(_OFFER_LIMIT_S, offer.deadline_s)):
                reply = await self._until_taken(lambda: queue.offer(offer, max_queued))
        except TimeoutError:
            raise QueueAway("the job queue cannot be reached") from None
        if isinstance(reply, Full):
            raise QueueFull(reply.retry_after_s)

    def _offered(self, job_id: str, task: asyncio.Task[Any]) -> None:
        del self._offering[job_id]
        if not task.cancelled():
            task.exception()

    # --- tokens ---

    async def _read_for_ever(self) -> None:
        while True:
            try:
                steps = await self._reader.read(_READ_WAIT_S)
            except (*REDIS_AWAY, Malformed) as error:
                _log.warning("token stream cannot be read", error=str(error))
                await asyncio.sleep(_FIRST_RETRY_S)
                continue
            for step in steps:
                for event in step.events:
                    self._dispatch(event, step.replica_id)

    def _dispatch(self, event: TokenEvent, replica_id: str) -> None:
        sequence = self._open.get(event.job_id)
        if sequence is None:
            return
        try:
            news = sequence.take(event, replica_id)
        except Exception as error:  # noqa: BLE001
            # One job's bad tokens must not silence all the others.
            _log.exception("token event cannot be taken", **sequence.identity)
            self.end(sequence, Ending(JobState.FAILED, None, f"{type(error).__name__}: {error}"))
            return
        if news is News.ENDED:
            self._ended(sequence)
        elif news is News.LOST:
            cause = "given_back" if event.finish is FinishReason.RELEASED else "gap"
            self._recover(sequence, event.attempt, cause)

    # --- recovery ---

    async def _attend_for_ever(self) -> None:
        while True:
            now_s = time.monotonic()
            self._used_at_s.update((each.revision_id, now_s) for each in self._open.values())
            try:
                if await self._epoch.changed():
                    self.end_all("queue_lost")
                for revision_id, used_at_s in list(self._used_at_s.items()):
                    await self._attend(revision_id)
                    if now_s - used_at_s > self._lease_s:
                        self._forget(revision_id)
            except REDIS_AWAY as error:
                _log.warning("queue cannot be attended", error=str(error))
            await asyncio.sleep(min(_ATTEND_S, self._lease_s / 4))

    async def _attend(self, revision_id: str) -> None:
        told = self._acknowledged.get(revision_id, [])
        still_open = [
            job_id
            for job_id, sequence in self._open.items()
            if sequence.revision_id == revision_id and job_id not in self._offering
        ]
        attended = await self._queue(revision_id).attend(self.id, self._lease_s, told, still_open)
        self._acknowledged[revision_id] = list(attended.ended)
        for job_id, text in attended.ended.items():
            self._ended_by_others(job_id, text)
        for job_id in attended.unknown:
            self._ended_by_others(job_id, f"{JobState.FAILED}: queue_lost")
        for orphan in attended.orphans:
            self._orphaned(revision_id, orphan)
        self._end_outdated(revision_id, attended.orphans)

    def _forget(self, revision_id: str) -> None:
        if not any(each.revision_id == revision_id for each in self._open.values()):
            self._used_at_s.pop(revision_id, None)
            self._acknowledged.pop(revision_id, None)
            self._outdated.pop(revision_id, None)

    def _ended_by_others(self, job_id: str, text: str) -> None:
        sequence = self._open.get(job_id)
        if sequence is not None and sequence.ending is None:
            state, _, reason = text.partition(": ")
            sequence.end(Ending(JobState(state), None, reason, retry_helps=True))
            del self._open[job_id]
            _log_ended(sequence)

    def _orphaned(self, revision_id: str, orphan: Orphan) -> None:
        sequence = self._open.get(orphan.job_id)
        if sequence is not None:
            self._recover(sequence, orphan.attempt, "orphaned")
            return
        queue = self._queue(revision_id)
        self._run(
            self._until_taken(
                lambda: queue.settle(orphan.job_id, self.id, JobState.CANCELLED, "not awaited", 0)
            )
        )

    def _end_outdated(self, revision_id: str, orphans: Iterable[Orphan]) -> None:
        """A Redis that came back with older data tells attempts that it had replaced. Told once, it
        may have crossed our own offer; told twice, the queue knows no better."""
        outdated = {
            each.job_id
            for each in orphans
            if each.job_id in self._open and self._open[each.job_id].delivery.is_past(each.attempt)
        }
        for job_id in outdated & self._outdated.get(revision_id, set()):
            lost = Ending(JobState.FAILED, None, "queue_lost", retry_helps=True)
            self.end(self._open[job_id], lost)
        self._outdated[revision_id] = outdated

    def _recover(self, sequence: Sequence, ended_attempt: int, cause: str) -> None:
        """Offer a job again from what was delivered; the ended attempt is heard no more."""
        delivery, who = sequence.delivery, sequence.identity
        if sequence.ending is not None or not delivery.end_attempt(ended_attempt):
            return
        ATTEMPTS_LOST.labels(sequence.revision_id, cause).inc()
        _log.info("attempt lost", **who, cause=cause, delivered=len(delivery.tokens))
        if sequence.job_id not in self._reoffering:
            self._reoffering.add(sequence.job_id)
            self._run(self._reoffer(sequence))

    async def _reoffer(self, sequence: Sequence) -> None:
        delivery = sequence.delivery
        try:
            while sequence.ending is None and not delivery.offered:
                ended = delivery.attempt - 1
                attempt = await self._offer_again(sequence, ended)
                if delivery.attempt != ended + 1:
                    continue  # the next attempt was started and ended before the reply came
                if attempt is None:
                    last = "max_attempts" if ended >= self._max_attempts else "job_lost"
                    self.end(sequence, Ending(JobState.FAILED, None, last, retry_helps=True))
                else:
                    delivery.begin_attempt(attempt)
                    REOFFERS.labels(sequence.revision_id).inc()
                    _log.info("offered again", **sequence.identity)
        finally:
            self._reoffering.discard(sequence.job_id)

    async def _offer_again(self, sequence: Sequence, ended: int) -> int | None:
        queue, body = self._queue(sequence.revision_id), encode(sequence.next_spec())
        return await self._until_taken(
            lambda: queue.reoffer(sequence.job_id, self.id, ended, body, self._max_attempts)
        )

    def end_all(self, reason: str) -> None:
        """End every open job; `endings.py` knows the reasons."""
        for sequence in list(self._open.values()):
            self.end(sequence, Ending(JobState.FAILED, None, reason, retry_helps=True))

    def end_interactive(self, reason: str) -> None:
        """End every open job that no other gateway can go on with."""
        for sequence in list(self._open.values()):
            if not sequence.durable:
                self.end(sequence, Ending(JobState.FAILED, None, reason, retry_helps=True))

    # --- settlement ---

    def _ended(self, sequence: Sequence) -> None:
        if not sequence.durable:
            self._run(self.settle(sequence))

    async def settle(self, sequence: Sequence) -> None:
        """Tell the queue how a job ended; it is ours until the queue knows. Twice is once."""
        ending, queue = sequence.ending, self._queue(sequence.revision_id)
        assert ending is not None
        offering = self._offering.get(sequence.job_id)
        if offering is not None:
            await asyncio.wait([offering])
        await self._until_taken(
            lambda: queue.settle(
                sequence.job_id,
                self.id,
                ending.outcome,
                ending.reason,
                sequence.output_tokens,
                stop=sequence.delivery.finish is None,
            )
        )
        self._open.pop(sequence.job_id, None)
        _log_ended(sequence)

    async def _until_taken(self, call: Callable[[], Awaitable[T]]) -> T:
        """Every call to the queue may be repeated, so one that failed is."""
        backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S)
        while True:
            try:
                async with self._calls:
                    return await call()
            except REDIS_AWAY as error:
                _log.warning("queue cannot be reached", error=str(error))
                await backoff.pause()

    def _queue(self, revision_id: str) -> JobQueue:
        return JobQueue(self._jobs, revision_id)

    def _run(self, errand: Coroutine[Any, Any, Any]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


def _log_ended(sequence: Sequence) -> None:
    ending = sequence.ending
    assert ending is not None
    _log.info(
        "job ended",
        **sequence.identity,
        outcome=ending.outcome.value,
        reason=ending.reason or ending.finish,
        output_tokens=sequence.output_tokens,
    )
