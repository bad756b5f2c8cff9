"""A recorded request, whatever trace it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


class MalformedTrace(ValueError):
    """A file that is not the trace it should be; the message names file and line."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    arrival_s: float
    """Seconds from the first request of the trace."""
    prompt_tokens: int
    output_tokens: int


def at_speed(requests: Iterable[TraceRequest], speed: float) -> Iterator[TraceRequest]:
    """`speed` times as fast as recorded.

    Raises:
        ValueError: the speed is not above 0.
    """
    if not 0 < speed < float("inf"):
        raise ValueError("the speed of a replay must be greater than 0")
    for each in requests:
        yield replace(each, arrival_s=each.arrival_s / speed)


def capped(each: TraceRequest, max_prompt_tokens: int, max_output_tokens: int) -> TraceRequest:
    """A request that a model of a smaller context can take."""
    return replace(
        each,
        prompt_tokens=min(each.prompt_tokens, max_prompt_tokens),
        output_tokens=min(each.output_tokens, max_output_tokens),
    )
