"""A lost attempt: its job is offered again from what was delivered (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Callable

from control_plane.gateway.metrics import ATTEMPTS_LOST, REOFFERS
from control_plane.gateway.queue_calls import QueueCalls
from control_plane.gateway.sequence import Ending, Sequence
from infra.states import JobState
from infra.telemetry import logger
from infra.wire import encode

_log = logger(__name__)


class Recovery:
    def __init__(
        self,
        calls: QueueCalls,
        consumer_id: str,
        max_attempts: int,
        end: Callable[[Sequence, Ending], None],
    ) -> None:
        self._calls = calls
        self._consumer_id = consumer_id
        self._max_attempts = max_attempts
        self._end = end
        self._reoffering: set[str] = set()

    def begin(self, sequence: Sequence, ended_attempt: int, cause: str) -> None:
        """The ended attempt is heard no more; nothing where that is known already."""
        delivery, who = sequence.delivery, sequence.identity
        if sequence.ending is not None or not delivery.end_attempt(ended_attempt):
            return
        ATTEMPTS_LOST.labels(sequence.revision_id, cause).inc()
        _log.info("attempt lost", **who, cause=cause, delivered=len(delivery.tokens))
        if sequence.job_id not in self._reoffering:
            self._reoffering.add(sequence.job_id)
            self._calls.run(self._reoffer(sequence))

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
                    self._end(sequence, Ending(JobState.FAILED, None, last, retry_helps=True))
                else:
                    delivery.begin_attempt(attempt)
                    REOFFERS.labels(sequence.revision_id).inc()
                    _log.info("offered again", **sequence.identity)
        finally:
            self._reoffering.discard(sequence.job_id)

    async def _offer_again(self, sequence: Sequence, ended: int) -> int | None:
        queue, body = self._calls.queue(sequence.revision_id), encode(sequence.next_spec())
        return await self._calls.until_taken(
            lambda: queue.reoffer(
                sequence.job_id, self._consumer_id, ended, body, self._max_attempts
            )
        )
