"""One durable request under way at this gateway: what its sequences say goes into its log.

Clients read the log and nothing else, so whatever one has seen, the next gateway knows too. A job
is settled after its end is in the log: what the queue calls completed can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

import msgspec

from control_plane.gateway.generation import Generation
from control_plane.gateway.sequence import Ending, Sequence
from control_plane.gateway.until_taken import until_taken
from infra.durable.idempotency import IdempotencyKeys
from infra.durable.log import DurableLog, Written
from infra.states import JobState
from infra.wire import DurableRequest, LogEntry

_WHAT = "log of a request"


class Superseded(Exception):
    """Another gateway has claimed the request, or it is gone."""


class DurableRun:
    """`length` and `logged`: what is in the log when the run begins; `logged` counts the tokens of
    each choice, `closed` names the choices whose end is there, `failure` is the first of the ends
    that is not good."""

    def __init__(
        self,
        log: DurableLog,
        keys: IdempotencyKeys,
        request: DurableRequest,
        claim: int,
        generation: Generation,
        *,
        length: int = 0,
        logged: Iterable[int] = (),
        closed: Iterable[int] = (),
        failure: Ending | None = None,
    ) -> None:
        self.request = request
        self.claim = claim
        self.generation = generation
        self.written = asyncio.Event()
        """Set at the next change of the log, for the readers of this gateway; then a new one."""
        self._log = log
        self._keys = keys
        self._length = length
        self._logged = list(logged) or [0] * request.choices
        self._closed = set(closed)
        self._settled: set[int] = set()
        self._failure = failure

    async def write(self) -> None:
        """Until the request has ended and its log says so.

        Raises:
            Superseded: it is not ours any more; nothing was written since.
        """
        if not await until_taken(_WHAT, lambda: self._log.accept(self.request, self.claim)):
            raise Superseded(self.request.request_id)
        while len(self._closed) < self.request.choices:
            entries = self._news()
            if entries:
                self._record(await self._append(entries))
                await self._settle()
            self._failure = self._failure or self.generation.failure
            if self._failure is not None:
                # After its own entry: readers take the first end that is not good for the reason.
                self.generation.close("another_choice_failed")
            elif not entries:
                await self.generation.wait()
        await self._finish()

    def cancel(self) -> None:
        self.generation.close("cancelled")

    # --- what is new ---

    def _news(self) -> list[LogEntry]:
        entries: list[LogEntry] = []
        for choice, sequence in enumerate(self.generation.sequences):
            if choice not in self._closed:
                entries += self._pieces(choice, sequence)
        return entries

    def _pieces(self, choice: int, sequence: Sequence) -> Iterable[LogEntry]:
        delivery, logged, piece = sequence.delivery, self._logged[choice], sequence.drain()
        tokens = delivery.tokens[logged:]
        if tokens or piece:
            told = [each for each in delivery.logprobs[logged:] if each is not None]
            yield LogEntry(choice, tokens, piece.text, logprobs=told, shown=piece.logprobs)
        if sequence.ending is not None:
            yield _end(choice, sequence.ending, sequence.output_tokens)

    def _record(self, entries: Iterable[LogEntry]) -> None:
        for entry in entries:
            self._length += 1
            self._logged[entry.choice] += len(entry.tokens)
            if entry.outcome:
                self._closed.add(entry.choice)
        self.tell_readers()

    async def _settle(self) -> None:
        for choice in self._closed - self._settled:
            await self.generation.settle(choice)
            self._settled.add(choice)

    def tell_readers(self) -> None:
        before, self.written = self.written, asyncio.Event()
        before.set()

    # --- the log ---

    async def _append(self, entries: list[LogEntry]) -> list[LogEntry]:
        """Returns what was written: other entries where Redis has lost older ones."""
        while True:
            write = partial(self._log.append, self.request, self.claim, self._length + 1, entries)
            written = await until_taken(_WHAT, write)
            if written is Written.YES:
                return entries
            if written is Written.NOT_OURS:
                raise Superseded(self.request.request_id)
            entries = await self._after_loss()

    async def _after_loss(self) -> list[LogEntry]:
        """Redis came back older than it was: parts of the answer are gone, so all of it failed."""
        found = await until_taken(_WHAT, lambda: self._log.find(self.request.request_id))
        if found is None:
            raise Superseded(self.request.request_id)
        self._length = found.length
        self._failure = Ending(JobState.FAILED, None, "queue_lost", retry_helps=True)
        self.generation.close("queue_lost")
        return [_end(choice, self._failure, 0) for choice in range(self.request.choices)]

    async def _finish(self) -> None:
        """Last of all: until then another gateway would find it open, and do all this again."""
        await self._settle()
        failure = self._failure = self._failure or self.generation.failure
        outcome = JobState.COMPLETED if failure is None else failure.outcome
        # A dead letter keeps what a retry needs; of all others the prompts go now.
        keep_jobs = failure is not None and failure.reason == "max_attempts"
        ended = self.request if keep_jobs else msgspec.structs.replace(self.request, jobs=[])
        await until_taken(_WHAT, lambda: self._log.finish(ended, self.claim, outcome.value))
        await until_taken(_WHAT, lambda: self._keep_key(outcome))
        self.generation.count()

    async def _keep_key(self, outcome: JobState) -> None:
        """A request that came to nothing does not stand in the way of the next try."""
        name = self.request.idempotency_key
        if name and outcome is JobState.COMPLETED:
            await self._keys.keep(name)
        elif name:
            await self._keys.release(name, self.request.request_id)


def _end(choice: int, ending: Ending, output_tokens: int) -> LogEntry:
    return LogEntry(
        choice,
        outcome=ending.outcome.value,
        finish=ending.finish or "",
        reason=ending.reason,
        retry_helps=ending.retry_helps,
        output_tokens=output_tokens,
    )
