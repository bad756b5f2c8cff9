"""This gateway process as a consumer: it owns its jobs' recovery (DESIGN §6).

One task reads the token stream and hands events to their sequences; one attends the queues, where
it learns of orphans and of jobs that others ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from control_plane.gateway.attendance import Attendance
from control_plane.gateway.delivery import News
from control_plane.gateway.open_jobs import OpenJobs
from control_plane.gateway.queue_calls import QueueCalls
from control_plane.gateway.recovery import Recovery
from control_plane.gateway.sequence import Ending, Sequence
from infra.connection import REDIS_AWAY, RedisClient
from infra.ending import end_tasks
from infra.epoch import Epoch
from infra.queue.queue import Full, Offer, Taken
from infra.states import JobState, is_final
from infra.telemetry import logger
from infra.token_stream import TokenReader
from infra.wire import FinishReason, Malformed, TokenEvent, encode

_log = logger(__name__)
_READ_WAIT_S = 1.0
_READ_RETRY_S = 0.05
_ATTEND_S = 1.0
_OFFER_LIMIT_S = 30.0
_CLOSE_LIMIT_S = 5.0


class QueueFull(Exception):
    """The queue takes no more now; `retry_after_s` is None where the rate is not known."""

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s


class QueueAway(Exception):
    """Redis did not take the job for as long as a request may wait for that."""


class Consumer:
    """`lease_s`: after this silence the queue ends our jobs."""

    def __init__(
        self, jobs: RedisClient, tokens: RedisClient, lease_s: float, max_attempts: int
    ) -> None:
        self.id = f"gateway-{secrets.token_hex(8)}"
        """New at each start: nobody else's tokens can reach this process."""
        self._reader = TokenReader(tokens, self.id)
        self._epoch = Epoch(jobs)
        self._lease_s = lease_s
        self._pause_s = min(_ATTEND_S, lease_s / 4)
        self._open = OpenJobs()
        self._calls = QueueCalls(jobs)
        self._recovery = Recovery(self._calls, self.id, max_attempts, self.end)
        self._attendance = Attendance(self._calls, self._open, self.id, lease_s, self)
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._loops = [
            asyncio.create_task(self._read_for_ever(), name="token reader"),
            asyncio.create_task(self._attend_for_ever(), name="queue attendant"),
        ]

    async def close(self) -> None:
        """End what is open, tell the queue, and leave no stream behind."""
        self.end_interactive("gateway_stopped")
        await self._calls.close(_CLOSE_LIMIT_S)
        await end_tasks(*self._loops)
        with contextlib.suppress(*REDIS_AWAY):
            await self._reader.close()

    @property
    def running(self) -> bool:
        """Whether it still listens; a loop that ended by a bug leaves the gateway deaf."""
        return bool(self._loops) and not any(task.done() for task in self._loops)

    @property
    def open_jobs(self) -> int:
        return len(self._open)

    # --- beginnings ---

    async def submit(
        self, sequence: Sequence, tenant: str, deadline_s: float, max_queued: int
    ) -> None:
        """Offer a new job, waiting while Redis is away for a moment.

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
        offering = self._open.begin(sequence, self._offer(sequence.revision_id, offer, max_queued))
        try:
            await asyncio.shield(offering)
        except QueueFull:
            self._open.remove(spec.job_id)
            raise
        except QueueAway:
            self.end(sequence, Ending(JobState.CANCELLED, None, "never acknowledged"))
            raise

    async def _offer(self, revision_id: str, offer: Offer, max_queued: int) -> None:
        queue = self._calls.queue(revision_id)
        try:
            async with asyncio.timeout(min(_OFFER_LIMIT_S, offer.deadline_s)):
                reply = await self._calls.until_taken(lambda: queue.offer(offer, max_queued))
        except TimeoutError:
            raise QueueAway("the job queue cannot be reached") from None
        if isinstance(reply, Full):
            raise QueueFull(reply.retry_after_s)

    async def adopt(self, sequence: Sequence, claim: int) -> bool:
        """Go on with a durable job of a consumer that is gone, from what its log says.

        Returns False where the queue does not know the job.

        Raises:
            Taken: yet another consumer was faster.
        """
        queue, job_id = self._calls.queue(sequence.revision_id), sequence.job_id
        adopting = self._open.begin(
            sequence, self._calls.until_taken(lambda: queue.adopt(job_id, self.id, claim))
        )
        try:
            found = await asyncio.shield(adopting)
        except Taken:
            self.release(sequence)
            raise
        if found is None:
            self._open.remove(job_id)
            return False
        if is_final(found.state):
            # It completed without its end in the log: then its last tokens are lost.
            lost = found.state is JobState.COMPLETED
            outcome = JobState.FAILED if lost else found.state
            reason = "job_lost" if lost else found.reason
            self.ended_by_others(sequence, Ending(outcome, None, reason, retry_helps=True))
            return True
        sequence.delivery.resume(found.attempt)
        if found.state is JobState.ORPHANED:
            self._recovery.begin(sequence, found.attempt, "adopted")
        return True

    # --- tokens ---

    async def _read_for_ever(self) -> None:
        while True:
            try:
                steps = await self._reader.read(_READ_WAIT_S)
            except (*REDIS_AWAY, Malformed) as error:
                _log.warning("token stream cannot be read", error=str(error))
                await asyncio.sleep(_READ_RETRY_S)
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
            self._recovery.begin(sequence, event.attempt, cause)

    # --- what the queues tell ---

    async def _attend_for_ever(self) -> None:
        while True:
            await asyncio.gather(
                self._calls.try_once(self._notice_loss(), self._lease_s / 2),
                self._attendance.attend(),
            )
            await asyncio.sleep(self._pause_s)

    async def _notice_loss(self) -> None:
        if await self._epoch.changed():
            self._end_all("queue_lost")

    def orphaned(self, sequence: Sequence, attempt: int) -> None:
        self._recovery.begin(sequence, attempt, "orphaned")

    def ended_by_others(self, sequence: Sequence, ending: Ending) -> None:
        self._open.remove(sequence.job_id)
        if sequence.end(ending):
            _log_ended(sequence)

    # --- ends ---

    def end(self, sequence: Sequence, ending: Ending) -> None:
        """End a job for a reason of ours; nothing where it has ended."""
        if sequence.end(ending):
            self._ended(sequence)

    def end_interactive(self, reason: str) -> None:
        """End every open job that no other gateway can go on with; `endings.py` knows reasons."""
        for sequence in self._open:
            if not sequence.durable:
                self.end(sequence, Ending(JobState.FAILED, None, reason, retry_helps=True))

    def _end_all(self, reason: str) -> None:
        for sequence in self._open:
            self.end(sequence, Ending(JobState.FAILED, None, reason, retry_helps=True))

    def release(self, sequence: Sequence) -> None:
        """Leave a durable job to others: it goes on in the queue, and here it has ended."""
        if self._open.get(sequence.job_id) is sequence:  # we may have adopted it anew
            self._open.remove(sequence.job_id)
        sequence.end(Ending(JobState.FAILED, None, "released"))

    def _ended(self, sequence: Sequence) -> None:
        """A durable job is settled by whoever writes its log, when its end is there."""
        if not sequence.durable:
            self._calls.run(self.settle(sequence))

    async def settle(self, sequence: Sequence) -> None:
        """Tell the queue how a job ended; it is ours until the queue knows. Twice is once."""
        ending, queue = sequence.ending, self._calls.queue(sequence.revision_id)
        assert ending is not None
        await self._open.until_begun(sequence.job_id)
        await self._calls.until_taken(
            lambda: queue.settle(
                sequence.job_id,
                self.id,
                ending.outcome,
                ending.reason,
                sequence.output_tokens,
                stop=sequence.delivery.finish is None,
            )
        )
        if self._open.get(sequence.job_id) is not None:
            self._open.remove(sequence.job_id)
            _log_ended(sequence)

    async def dismiss(self, revision_id: str, job_id: str, claim: int, reason: str) -> None:
        """Fail a durable job of a consumer that is gone.

        Raises:
            Taken: yet another consumer was faster.
            RedisError, OSError: Redis is away.
        """
        queue = self._calls.queue(revision_id)
        await queue.adopt(job_id, self.id, claim)
        await queue.settle(job_id, self.id, JobState.FAILED, reason, 0)


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
