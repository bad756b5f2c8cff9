"""This gateway's lease at the queues that it uses, and what they tell it of its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from control_plane.gateway.open_jobs import OpenJobs
from control_plane.gateway.queue_calls import QueueCalls
from control_plane.gateway.sequence import Ending, Sequence
from infra.queue.queue import Orphan
from infra.states import JobState


class Told(Protocol):
    """Who is told."""

    def orphaned(self, sequence: Sequence, attempt: int) -> None:
        """The attempt ended without the job."""

    def ended_by_others(self, sequence: Sequence, ending: Ending) -> None:
        """The queue has settled it."""

    def end(self, sequence: Sequence, ending: Ending) -> None:
        """It is to be settled."""


class Attendance:
    """`lease_s`: after this silence the queue ends our jobs."""

    def __init__(
        self, calls: QueueCalls, jobs: OpenJobs, consumer_id: str, lease_s: float, told: Told
    ) -> None:
        self._calls = calls
        self._jobs = jobs
        self._consumer_id = consumer_id
        self._lease_s = lease_s
        self._told = told
        self._acknowledged: dict[str, list[str]] = {}
        """By revision: ends that the queue has told us and need not tell again."""
        self._outdated: dict[str, set[str]] = {}
        """By revision: jobs that the queue last told with an attempt older than ours."""

    async def attend(self) -> None:
        """Renew the lease everywhere, at once and each for itself: in a cluster one queue may be
        away while others are here, and must not cost us our lease there."""
        revisions = self._jobs.revisions(self._lease_s)
        limit_s = self._lease_s / 2
        await asyncio.gather(
            *(self._calls.try_once(self._attend(each), limit_s) for each, _ in revisions)
        )
        for revision_id, unused in revisions:
            if unused:
                self._acknowledged.pop(revision_id, None)
                self._outdated.pop(revision_id, None)

    async def _attend(self, revision_id: str) -> None:
        attended = await self._calls.queue(revision_id).attend(
            self._consumer_id,
            self._lease_s,
            self._acknowledged.get(revision_id, []),
            self._jobs.of(revision_id),
        )
        self._acknowledged[revision_id] = list(attended.ended)
        for job_id, text in attended.ended.items():
            state, _, reason = text.partition(": ")
            self._ended(job_id, Ending(JobState(state), None, reason, retry_helps=True))
        for job_id in attended.unknown:
            self._ended(job_id, Ending(JobState.FAILED, None, "queue_lost", retry_helps=True))
        for orphan in attended.orphans:
            self._orphaned(revision_id, orphan)
        self._end_outdated(revision_id, attended.orphans)

    def _ended(self, job_id: str, ending: Ending) -> None:
        sequence = self._jobs.get(job_id)
        if sequence is not None and sequence.ending is None:
            self._told.ended_by_others(sequence, ending)

    def _orphaned(self, revision_id: str, orphan: Orphan) -> None:
        sequence = self._jobs.get(orphan.job_id)
        if sequence is not None:
            self._told.orphaned(sequence, orphan.attempt)
        elif not orphan.durable:  # those wait for whoever goes on with their request
            queue = self._calls.queue(revision_id)
            self._calls.run(
                self._calls.until_taken(
                    lambda: queue.settle(
                        orphan.job_id, self._consumer_id, JobState.CANCELLED, "not awaited", 0
                    )
                )
            )

    def _end_outdated(self, revision_id: str, orphans: Iterable[Orphan]) -> None:
        """A Redis that came back with older data tells attempts that it had replaced. Told once, it
        may have crossed our own offer; told twice, the queue knows no better."""
        before, outdated = self._outdated.get(revision_id, set()), set()
        for orphan in orphans:
            sequence = self._jobs.get(orphan.job_id)
            if sequence is None or not sequence.delivery.is_past(orphan.attempt):
                continue
            outdated.add(orphan.job_id)
            if orphan.job_id in before:
                lost = Ending(JobState.FAILED, None, "queue_lost", retry_helps=True)
                self._told.end(sequence, lost)
        self._outdated[revision_id] = outdated
