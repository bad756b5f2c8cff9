"""The jobs of a request into the queue: all of them, or none."""

from __future__ import annotations

from control_plane.gateway.consumer import Consumer, QueueAway, QueueFull
from control_plane.gateway.errors import overloaded, unavailable
from control_plane.gateway.generation import Generation
from infra.tracing.span import span

_RETRY_FULL_S = 5.0
"""Where neither the queue has been seen to drain nor a replica to start."""
_RETRY_AWAY_S = 2.0


async def enqueue(
    consumer: Consumer,
    generation: Generation,
    tenant: str,
    queue_limit_s: float,
    max_queued: int,
    boot_s: float = 0.0,
) -> None:
    """Offer the jobs of a request; all are taken, or none stays.

    `boot_s`: how long a replica that is still to start will take, as far as that was measured.

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
        measured = [each for each in (error.retry_after_s, boot_s or None) if each is not None]
        retry_after_s = max(measured, default=_RETRY_FULL_S)
        raise overloaded(f"Too many requests: {error}; try again later.", retry_after_s) from None
    except QueueAway as error:
        generation.withdraw(accepted + 1)  # Redis may take it yet: it was sent
        raise unavailable(f"Sorry, {error}; try again.", "queue_away", _RETRY_AWAY_S) from None
    except BaseException:
        generation.withdraw(accepted + 1)  # the one on its way may have been taken
        raise
