"""A request that another gateway began, rebuilt from its log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from control_plane.gateway.consumer import Consumer, QueueAway, QueueFull
from control_plane.gateway.display import display_of
from control_plane.gateway.durable.run import DurableRun
from control_plane.gateway.generation import Generation
from control_plane.gateway.sequence import Ending, Finish, Sequence
from control_plane.gateway.text_models import TextModel
from infra.durable.idempotency import IdempotencyKeys
from infra.durable.log import DurableLog, Found
from infra.states import JobState
from infra.wire import LogEntry


class Adoption:
    def __init__(self, log: DurableLog, keys: IdempotencyKeys, consumer: Consumer) -> None:
        self._log = log
        self._keys = keys
        self._consumer = consumer

    async def resume(self, found: Found, text: TextModel) -> DurableRun:
        """Make the jobs of a request that we have claimed ours; what the log says was delivered is
        not generated again.

        Raises:
            Taken: yet another gateway has claimed it since.
        """
        request = found.request
        generation = Generation(
            self._consumer, request.prompt_tokens, request.model, time.monotonic()
        )
        entries = [entry for _, entry in await self._log.all_entries(request.request_id)]
        for spec in request.jobs:
            generation.add(request.revision_id, spec, text, display_of(request), durable=True)
        logged, ends = _replay(generation.sequences, entries)
        try:
            for sequence in generation.sequences:
                await self._adopt(found, sequence)
        except BaseException:
            for sequence in generation.sequences:
                self._consumer.release(sequence)
            raise
        return DurableRun(
            self._log,
            self._keys,
            request,
            found.claim,
            generation,
            length=found.length,
            logged=logged,
            closed=ends,
            failure=next(
                (each for each in ends.values() if each.outcome is not JobState.COMPLETED), None
            ),
        )

    async def _adopt(self, found: Found, sequence: Sequence) -> None:
        request = found.request
        if await self._consumer.adopt(sequence, found.claim) or sequence.ending is not None:
            return
        if found.accepted:
            sequence.end(Ending(JobState.FAILED, None, "job_lost", retry_helps=True))
            return
        # Its gateway died before it had offered all.
        try:
            await self._consumer.submit(
                sequence, request.tenant, request.queue_limit_s, request.max_queued_jobs
            )
        except (QueueFull, QueueAway):
            sequence.end(Ending(JobState.EXPIRED, None, "queue_limit", retry_helps=True))

    async def give_up(self, found: Found, reason: str) -> None:
        """End a request that we have claimed and nobody can go on with."""
        request, claim = found.request, found.claim
        entries = [entry for _, entry in await self._log.all_entries(request.request_id)]
        closed = {entry.choice for entry in entries if entry.outcome}
        for spec in request.jobs:
            await self._consumer.dismiss(request.revision_id, spec.job_id, claim, reason)
        ends = [
            LogEntry(choice, outcome=JobState.FAILED.value, reason=reason)
            for choice in range(request.choices)
            if choice not in closed
        ]
        await self._log.append(request, claim, found.length + 1, ends)
        await self._log.finish(request, claim, JobState.FAILED.value)
        if request.idempotency_key:
            await self._keys.release(request.idempotency_key, request.request_id)


def _replay(
    sequences: list[Sequence], entries: Iterable[LogEntry]
) -> tuple[list[int], dict[int, Ending]]:
    """Put sequences where the log leaves them; the tokens logged of each, and the ends that are
    there, by choice and in their order."""
    logged, ends = [0] * len(sequences), dict[int, Ending]()
    for entry in entries:
        sequence = sequences[entry.choice]
        sequence.restore(entry.tokens, entry.logprobs)
        logged[entry.choice] += len(entry.tokens)
        if entry.outcome:
            finish = cast(Finish, entry.finish) or None
            outcome = JobState(entry.outcome)
            sequence.ending = Ending(outcome, finish, entry.reason, entry.retry_helps)
            ends[entry.choice] = sequence.ending
    return logged, ends
