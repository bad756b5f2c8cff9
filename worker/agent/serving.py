"""The queue loop of one replica: lease, run, speak, renew, stop, give back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from infra.backoff import Backoff
from infra.connection import REDIS_AWAY
from infra.ending import end_tasks
from infra.queue.queue import JobQueue, Lease
from infra.telemetry import logger
from infra.tracing.span import now_ns
from infra.waiting import set_within
from infra.wire import FinishReason, JobSpec, Malformed, Sampling, StepSample, TokenEvent, decode
from worker.agent.capacity import UNLIMITED_TOKENS, free_capacity
from worker.agent.clock import lease_clock_s
from worker.agent.engine_process import EngineEnded, EngineProcess
from worker.agent.held_jobs import HeldJob, HeldJobs
from worker.agent.job_trace import JobTrace
from worker.agent.outbox import Outbox, Said
from worker.agent.pulse import Pulse
from worker.agent.start_clock import FirstToken
from worker.engine.messages import Cancel, Failed, LongStep, Stats, StepDone, Submit

_log = logger(__name__)
_RENEWALS_PER_LEASE = 3
_SHORTEST_PATIENCE_S = 1.0
"""Engines declare steps that are longer than this."""
_HANG_LEASES = 2
_BELL_S = 5.0
_LAST_LEASE_LIMIT_S = 1.0
_GIVE_BACK_TRIES = 3
_STEPS_TOLD = 16


class Serving:
    """Serves from a ready engine until it is drained or the engine ends."""

    def __init__(
        self,
        replica_id: str,
        queue: JobQueue,
        engine: EngineProcess,
        outbox: Outbox,
        lease_s: float,
        stats: Stats,
        on_first_token: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_first_token`: told once, how many seconds it took."""
        self._stats = stats
        self._on_first_token = on_first_token
        self._first_token = FirstToken(lease_clock_s())
        self.held = HeldJobs(lease_s)
        self._replica_id = replica_id
        self._log = _log.bind(replica_id=replica_id, revision_id=queue.revision_id)
        self._queue = queue
        self._engine = engine
        self._outbox = outbox
        self._lease_s = lease_s
        self._renewal_s = lease_s / _RENEWALS_PER_LEASE
        patience_s = max(self._renewal_s, _SHORTEST_PATIENCE_S)
        self._pulse = Pulse(patience_s, lease_clock_s())
        self._unwanted: set[str] = set()
        """Dropped jobs that the engine still has: a silent one is told at its next sign."""
        self._look_for_work = asyncio.Event()
        self._changed = asyncio.Event()
        self._drained_at_s: float | None = None
        self._steps: deque[StepSample] = deque(maxlen=_STEPS_TOLD)

    @property
    def stats(self) -> Stats:
        """The engine's own words, of its last step; where we hold nothing, nothing runs."""
        if self.held:
            return self._stats
        return msgspec.structs.replace(self._stats, running=0, waiting=0, kv_tokens_used=0)

    def take_steps(self) -> list[StepSample]:
        """Those that were measured since the last call, the newest of them."""
        taken = list(self._steps)
        self._steps.clear()
        return taken

    @property
    def _owes_sign(self) -> bool:
        """Whether the engine has work, as far as it knows."""
        return bool(self.held or self._unwanted)

    def drain(self, limit_s: float) -> None:
        """Lease no more, and end when all is finished or the time is over."""
        end_s = asyncio.get_running_loop().time() + limit_s
        self._drained_at_s = min(end_s, end_s if self._drained_at_s is None else self._drained_at_s)
        self._look_for_work.set()
        self._changed.set()

    async def run(self) -> None:
        """Serve; returns when drained. `give_back` must follow, whatever happens.

        Raises:
            EngineEnded: the engine is gone, cannot go on, or hangs.
        """
        leasing = asyncio.create_task(self._lease_until_drained())
        drained = asyncio.create_task(self._wait_until_drained())
        loops = (self._hear_engine(), self._hear_bell(), self._renew_forever())
        tasks = {leasing, drained, *(asyncio.create_task(each) for each in loops)}
        try:
            while not drained.done():
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                tasks -= done
        finally:
            # A lease whose answer is under way is waited for, so that it can be given back.
            self.drain(0.0)
            await asyncio.wait([leasing], timeout=_LAST_LEASE_LIMIT_S)
            await end_tasks(leasing, drained, *tasks)

    async def give_back(self) -> None:
        """Hand what still runs back to the queue, and tell its consumers."""
        jobs = self.held.release_all()
        if jobs:
            await self._outbox.flush(self._renewal_s)
            await self._return_leases(jobs)
            for job in jobs:
                self._log.info("job given back", **job.identity)
            self._outbox.put([Said(job, _released(job)) for job in jobs])
        await self._outbox.flush(self._lease_s)

    # --- work ---

    async def _lease_until_drained(self) -> None:
        backoff = Backoff(first_s=0.1, limit_s=2.0)
        while self._drained_at_s is None:
            self._look_for_work.clear()
            try:
                found = await self._lease()
            except REDIS_AWAY:
                await backoff.pause()
                continue
            backoff.reset()
            if not found:
                await self._look_for_work.wait()

    async def _lease(self) -> bool:
        free = free_capacity(self.stats, len(self.held), self.held.unstarted_tokens())
        if free.jobs == 0 or (self._owes_sign and not self._pulse.alive(lease_clock_s())):
            return False
        sent_at_s, asked_ns = lease_clock_s(), now_ns()
        leases = await self._queue.lease(self._replica_id, free.jobs, free.tokens, self._lease_s)
        if not leases and not self.held:
            # A job too large for an empty cache would block the queue: the engine says why not.
            sent_at_s, asked_ns = lease_clock_s(), now_ns()
            leases = await self._queue.lease(self._replica_id, 1, UNLIMITED_TOKENS, self._lease_s)
        if not leases and not self.held:
            self._first_token.nothing_waits(lease_clock_s())
        for lease in leases:
            await self._start(lease, sent_at_s, asked_ns)
        return bool(leases)

    async def _start(self, lease: Lease, sent_at_s: float, asked_ns: int) -> None:
        try:
            spec = decode(lease.spec, JobSpec)
        except Malformed as error:
            self._refuse(lease, str(error), sent_at_s)
            return
        if lease.job_id in self.held or lease.job_id in self._unwanted:
            self._unwanted.discard(lease.job_id)
            await self._engine.tell(Cancel(lease.job_id))
        if not self._owes_sign:
            self._pulse.work_given(lease_clock_s())
        job = self.held.take(lease, spec, sent_at_s)
        self._trace(job, spec.traceparent, asked_ns)
        self._log.debug("job leased", **job.identity)
        await self._engine.tell(Submit(spec, lease.attempt))

    def _trace(self, job: HeldJob, traceparent: str, asked_ns: int) -> None:
        who = {"replica_id": self._replica_id, "revision_id": self._queue.revision_id}
        job.trace = JobTrace.of(traceparent, {**job.identity, **who})
        if job.trace is not None:
            job.trace.leased(asked_ns)

    def _refuse(self, lease: Lease, error: str, sent_at_s: float) -> None:
        self.held.take(lease, JobSpec(lease.job_id, "", [], Sampling(0)), sent_at_s)
        event = TokenEvent(lease.job_id, lease.attempt, 0, [], FinishReason.ERROR, error)
        job = self.held.hear(event)
        assert job is not None
        self._log.warning("job refused", **job.identity, reason=error)
        self._outbox.put([Said(job, event)])

    async def _hear_bell(self) -> None:
        backoff = Backoff(first_s=0.1, limit_s=2.0)
        while True:
            try:
                stopped = await self._queue.wait(self._replica_id, _BELL_S)
                # A stop may be meant for an attempt that we no longer run: the queue knows.
                await self._renew(self.held.current(stopped))
            except REDIS_AWAY:
                await backoff.pause()
                continue
            backoff.reset()
            self._look_for_work.set()

    # --- the engine ---

    async def _hear_engine(self) -> None:
        while True:
            message = await self._engine.hear()
            if isinstance(message, StepDone):
                self._note_step(message.stats)
                self._stats = message.stats
                self._pulse.step_ended(lease_clock_s())
                await self._speak(message.events, message.ended_ns)
            elif isinstance(message, LongStep):
                self._pulse.expect_long_step(message.bound_s, lease_clock_s())
            elif isinstance(message, Failed):
                raise EngineEnded(message.reason)

    def _note_step(self, stats: Stats) -> None:
        if stats.sampled_step is not None and stats.sampled_steps != self._stats.sampled_steps:
            self._steps.append(stats.sampled_step)

    async def _speak(self, events: Sequence[TokenEvent], ended_ns: int) -> None:
        """Pass a step on to its consumers, as far as we may still speak for its jobs."""
        self._drop(self.held.drop_overdue(lease_clock_s()))
        said = []
        for event in events:
            job = self.held.hear(event)
            if job is not None:
                said.append(Said(job, event))
                if job.trace is not None and event.tokens:
                    job.trace.first_token(ended_ns)
                    job.trace = None
        refused = self._outbox.put(said)
        if self._first_token.took_s is None and any(each.event.tokens for each in said):
            self._on_first_token(self._first_token.said(lease_clock_s()))
        self._drop(refused)
        await self._cancel_unwanted()
        if any(each.event.finish is not None for each in said):
            self._look_for_work.set()
            self._changed.set()

    def _drop(self, jobs: Iterable[HeldJob]) -> None:
        for job in jobs:
            self.held.drop(job.job_id)
            self._log.info("job dropped", **job.identity)
            self._unwanted.add(job.job_id)
            self._changed.set()

    async def _cancel_unwanted(self) -> None:
        """One at a time: meanwhile one of them may come back, with a new attempt."""
        while self._unwanted:
            await self._engine.tell(Cancel(self._unwanted.pop()))
            self._look_for_work.set()

    # --- leases ---

    async def _renew_forever(self) -> None:
        pause_s, silent_s = self._renewal_s, 0.0
        while True:
            await asyncio.sleep(pause_s)
            now_s = lease_clock_s()
            self._drop(self.held.drop_overdue(now_s))
            if self._pulse.alive(now_s) or not self._owes_sign:
                silent_s = 0.0
            else:
                # Counted in our own pauses: where we were stopped ourselves, the engine is not to
                # blame for what we did not hear.
                silent_s += pause_s
            if silent_s > _HANG_LEASES * self._lease_s:
                raise EngineEnded(f"the engine hangs: a step is overdue for {silent_s:.0f} s")
            pause_s = self._renewal_s
            try:
                await self._renew(self.held.current())
            except REDIS_AWAY:
                pause_s = self._renewal_s / 4

    async def _renew(self, jobs: Sequence[HeldJob]) -> None:
        """Renew these leases, if the engine is alive, and forget those that are no longer ours."""
        sent_at_s = lease_clock_s()
        if not jobs or not self._pulse.alive(sent_at_s):
            return
        async with asyncio.timeout(self._lease_s):
            lost = await self._queue.renew(
                self._replica_id, [job.progress for job in jobs], self._lease_s
            )
        self._drop(self.held.renewed(jobs, lost, sent_at_s))
        await self._cancel_unwanted()

    async def _return_leases(self, jobs: Sequence[HeldJob]) -> None:
        """Make the jobs orphans now; where Redis is away, their leases run out by themselves."""
        backoff = Backoff(first_s=0.1, limit_s=1.0)
        for _ in range(_GIVE_BACK_TRIES):
            with contextlib.suppress(*REDIS_AWAY):
                async with asyncio.timeout(self._lease_s):
                    await self._queue.give_back(self._replica_id, [job.progress for job in jobs])
                return
            await backoff.pause()

    async def _wait_until_drained(self) -> None:
        loop = asyncio.get_running_loop()
        while self._drained_at_s is None or (self.held and loop.time() < self._drained_at_s):
            self._changed.clear()
            left_s = None if self._drained_at_s is None else self._drained_at_s - loop.time()
            await set_within(self._changed, left_s)


def _released(job: HeldJob) -> TokenEvent:
    lease = job.lease
    return TokenEvent(lease.job_id, lease.attempt, job.output_tokens, [], FinishReason.RELEASED)
