"""How long a step of so many tokens takes at worst, learned from the steps so far."""

from __future__ import annotations

from collections import deque

_REMEMBERED = 32
_CAUTION = 3.0


class StepTimes:
    """Durations by the power of two that holds a step's tokens."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[float]] = {}

    def observe(self, tokens: int, duration_s: float) -> None:
        size = tokens.bit_length()
        self._seen.setdefault(size, deque(maxlen=_REMEMBERED)).append(duration_s)

    @property
    def token_s(self) -> float:
        """Seconds for each position of the steps that used the machine best; 0 before the first."""
        return min((min(times) / 2.0**size for size, times in self._seen.items()), default=0.0)

    def bound_s(self, tokens: int) -> float:
        """Several times the worst recent step of this size; 0 where nothing has run yet.

        For a size not seen, the nearest smaller one is scaled up by its tokens: more than it will
        take, since a larger batch uses the machine better.
        """
        if tokens == 0 or not self._seen:
            return 0.0
        size = tokens.bit_length()
        known = max((each for each in self._seen if each <= size), default=min(self._seen))
        return _CAUTION * max(self._seen[known]) * 2.0 ** max(0, size - known)
