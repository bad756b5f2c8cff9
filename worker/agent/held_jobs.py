"""The jobs that a replica holds, and whether it may still speak for each of them (pure).

A lease is counted from the moment its request was sent, so that ours ends before the queue's own.
Times are seconds of one monotonic clock and come as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.queue.queue import Lease, Progress
from infra.wire import JobSpec, TokenEvent
from worker.agent.job_trace import JobTrace


@dataclass(slots=True)
class HeldJob:
    lease: Lease
    context_tokens: int
    """Tokens that the engine must take in before the first new one."""
    output_tokens: int
    """Over all attempts."""
    speak_until_s: float
    request_id: str = ""
    trace: JobTrace | None = None
    """Until its first token; None where the request is not traced."""
    started: bool = False
    dropped: bool = False

    @property
    def job_id(self) -> str:
        return self.lease.job_id

    @property
    def progress(self) -> Progress:
        lease = self.lease
        return Progress(lease.job_id, lease.attempt, lease.nonce, self.output_tokens)

    @property
    def identity(self) -> dict[str, str | int]:
        """What a line of the log says of whom it speaks."""
        lease = self.lease
        return {"request_id": self.request_id, "job_id": lease.job_id, "attempt": lease.attempt}

    def may_speak(self, now_s: float) -> bool:
        return not self.dropped and now_s < self.speak_until_s


class HeldJobs:
    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._jobs: dict[str, HeldJob] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def take(self, lease: Lease, spec: JobSpec, sent_at_s: float) -> HeldJob:
        """Hold a job; an earlier attempt of it that is still here is dropped."""
        self.drop(lease.job_id)
        delivered = len(spec.delivered)
        job = HeldJob(
            lease,
            len(spec.prompt) + delivered,
            delivered,
            sent_at_s + self._lease_s,
            spec.request_id,
        )
        self._jobs[lease.job_id] = job
        return job

    def hear(self, event: TokenEvent) -> HeldJob | None:
        """Note what the engine says; None where it speaks of a job or an attempt no longer held.

        A job that has finished is no longer held, but its last words may be spoken until its lease
        ends: the consumer settles it.
        """
        job = self._jobs.get(event.job_id)
        if job is None or job.lease.attempt != event.attempt:
            return None
        job.started = True
        job.output_tokens = event.index + len(event.tokens)
        if event.finish is not None:
            del self._jobs[event.job_id]
        return job

    def drop(self, job_id: str) -> HeldJob | None:
        """Never speak of the job again."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            job.dropped = True
        return job

    def release_all(self) -> list[HeldJob]:
        """Stop holding all jobs; what was said of them may still be spoken."""
        released = list(self._jobs.values())
        self._jobs.clear()
        return released

    def current(self, job_ids: Iterable[str] | None = None) -> list[HeldJob]:
        """The held jobs of these ids; all of them where None."""
        if job_ids is None:
            return list(self._jobs.values())
        return [self._jobs[each] for each in job_ids if each in self._jobs]

    def renewed(
        self, jobs: Iterable[HeldJob], lost: Iterable[str], sent_at_s: float
    ) -> list[HeldJob]:
        """Take note of a renewal that was sent at that time; returns the jobs now dropped."""
        gone = set(lost)
        dropped = []
        for job in jobs:
            if self._jobs.get(job.job_id) is not job:
                continue
            if job.job_id in gone:
                self.drop(job.job_id)
                dropped.append(job)
            else:
                job.speak_until_s = max(job.speak_until_s, sent_at_s + self._lease_s)
        return dropped

    def drop_overdue(self, now_s: float) -> list[HeldJob]:
        """Drop every job whose lease was not renewed in time; returns them."""
        overdue = [job for job in self._jobs.values() if not job.may_speak(now_s)]
        for job in overdue:
            self.drop(job.job_id)
        return overdue

    def unstarted_tokens(self) -> int:
        """KV tokens that jobs will take which the engine has not begun to answer."""
        return sum(job.context_tokens for job in self._jobs.values() if not job.started)
