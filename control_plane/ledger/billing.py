"""What a cloud bills of one machine: which seconds, at which prices.

As EC2 bills Linux machines: by the second from the launch to the end, a minute at the least, at the
spot price that holds in each second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

HOUR_S = 3600
LEAST_S = 60.0


@dataclass(frozen=True, slots=True)
class Span:
    """From `begin` up to `end`, epoch seconds."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return max(0.0, self.end - self.begin)

    def within(self, other: Span) -> Span:
        """The part of it that lies in the other; empty where none does."""
        begin = max(self.begin, other.begin)
        return Span(begin, max(begin, min(self.end, other.end)))


@dataclass(frozen=True, slots=True)
class Price:
    """Holds from `since` until the next one."""

    since: float
    usd_per_hour: float


def billed(launched_at: float, ended_at: float | None, now: float) -> Span:
    """What is owed by `now`: the first minute is at the launch."""
    end = now if ended_at is None else min(ended_at, now)
    return Span(launched_at, max(end, launched_at + LEAST_S))


def covered_s(spans: Iterable[Span]) -> float:
    """Seconds that lie in any of the spans."""
    total, end = 0.0, float("-inf")
    for span in sorted(spans, key=attrgetter("begin")):
        total += Span(max(span.begin, end), span.end).seconds
        end = max(end, span.end)
    return total


def hours(span: Span) -> Iterator[int]:
    """The hours that a span touches, each by its first epoch second."""
    first = int(span.begin // HOUR_S) * HOUR_S
    yield from range(first, max(first + 1, _above(span.end)), HOUR_S)


def hour_span(hour: int) -> Span:
    return Span(float(hour), float(hour + HOUR_S))


def cost_usd(span: Span, prices: Sequence[Price]) -> float:
    """US dollars for a span; before the first price that one holds, and without any it is free."""
    known = sorted(prices, key=attrgetter("since"))
    total = 0.0
    for index, price in enumerate(known):
        begin = price.since if index else float("-inf")
        end = known[index + 1].since if index + 1 < len(known) else float("inf")
        total += span.within(Span(begin, end)).seconds * price.usd_per_hour
    return total / HOUR_S


def _above(second: float) -> int:
    whole = int(second)
    return whole if whole == second else whole + 1
