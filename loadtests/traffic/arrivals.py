"""When the requests of an open loop are due, whatever the server does: seconds from the start."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def constant(rate_per_s: float) -> Iterator[float]:
    """One every 1/rate seconds."""
    _check(rate_per_s)
    number = 0
    while True:
        yield number / rate_per_s
        number += 1


def poisson(rate_per_s: float, random: Random) -> Iterator[float]:
    """Independent arrivals: exponential gaps with a mean of 1/rate seconds."""
    _check(rate_per_s)
    due_s = 0.0
    while True:
        due_s += random.expovariate(rate_per_s)
        yield due_s


def bursts(rate_per_s: float, size: int, random: Random) -> Iterator[float]:
    """`size` requests at once, the bursts a Poisson process, so that the mean rate is `rate`."""
    _check(rate_per_s)
    if size < 1:
        raise ValueError("a burst has at least one request")
    for due_s in poisson(rate_per_s / size, random):
        for _ in range(size):
            yield due_s


def _check(rate_per_s: float) -> None:
    if not 0 < rate_per_s < float("inf"):
        raise ValueError("the rate must be greater than 0 requests per second")
