"""The jobs of a request into the queue: all of them, or none."""

from __future__ import annotations

from control_plane.gateway.consumer import Consumer, QueueAway, QueueFull
from control_plane.gateway.errors import overloaded, unavailable
from control_plane.gateway.generation import Generation
from infra.tracing.span import span

_RETRY_FULL_S = 5.0
"""Where the queue has not been seen to drain."""
_RETRY_AWAY_S = 2.0


async def enqueue(
    consumer: Consumer, generation: Generation, tenant: str, queue_limit_s: float, max_queued: int
) -> None:
    """Offer the jobs of a request; all are taken, or none stays.

    Raises ApiError: 429 where the queue is full, 503 where it cannot be reached.
    """
    accepted = 0
    try:
        for sequence in generation.sequences:
            with span("offer", sequence.identity):
                await consumer.submit(sequence, tenant, queue_limit_s, max_queued)
            accepted += 1
    except QueueFull as error:
        generation.withdraw(accepted)
        retry_after_s = _RETRY_FULL_S if error.retry_after_s is None else error.retry_after_s
        raise overloaded(f"Too many requests: {error}; try again later.", retry_after_s) from None
    except QueueAway as error:
        generation.withdraw(accepted)
        raise unavailable(f"Sorry, {error}; try again.", "queue_away", _RETRY_AWAY_S) from None
    except BaseException:
        generation.withdraw(accepted + 1)  # the one on its way may have been taken
        raise
