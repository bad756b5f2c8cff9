"""The jobs that are this gateway's, as far as it knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from control_plane.gateway.sequence import Sequence

T = TypeVar("T")


class OpenJobs:
    """From before the queue's answer that makes a job ours until it is settled."""

    def __init__(self) -> None:
        self._sequences: dict[str, Sequence] = {}
        self._beginning: dict[str, asyncio.Task[Any]] = {}
        self._used_at_s: dict[str, float] = {}
        """By revision: when one of its jobs was last open."""

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(list(self._sequences.values()))

    def get(self, job_id: str) -> Sequence | None:
        return self._sequences.get(job_id)

    def begin(self, sequence: Sequence, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Know a job before the call has made it ours: tokens may come before the reply does. The
        call is never cut off, so that what ends the job comes after it."""
        job_id = sequence.job_id
        self._sequences[job_id] = sequence
        self._used_at_s[sequence.revision_id] = time.monotonic()
        task = asyncio.create_task(call)
        self._beginning[job_id] = task
        task.add_done_callback(lambda done: self._begun(job_id, done))
        return task

    def _begun(self, job_id: str, task: asyncio.Task[Any]) -> None:
        del self._beginning[job_id]
        if not task.cancelled():
            task.exception()

    async def until_begun(self, job_id: str) -> None:
        """Wait for the call of `begin`, however it ends."""
        task = self._beginning.get(job_id)
        if task is not None:
            await asyncio.wait([task])

    def remove(self, job_id: str) -> None:
        self._sequences.pop(job_id, None)

    def of(self, revision_id: str) -> list[str]:
        """Jobs of a revision that the queue should know."""
        return [
            job_id
            for job_id, sequence in self._sequences.items()
            if sequence.revision_id == revision_id and job_id not in self._beginning
        ]

    def revisions(self, unused_s: float) -> list[tuple[str, bool]]:
        """Revisions whose jobs we have or had, each with whether none was open for `unused_s`;
        those are left out from the next call on."""
        now_s = time.monotonic()
        self._used_at_s.update((each.revision_id, now_s) for each in self._sequences.values())
        found = [
            (revision_id, now_s - used_at_s > unused_s)
            for revision_id, used_at_s in self._used_at_s.items()
        ]
        for revision_id, unused in found:
            if unused:
                del self._used_at_s[revision_id]
        return found
