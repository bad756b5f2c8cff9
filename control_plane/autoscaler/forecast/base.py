"""What a forecaster is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class History:
    """Demand in windows of equal length, oldest first, up to now. Any unit: each rate of tokens has
    a history of its own."""

    values: Sequence[float]
    """Means of windows; a window that nobody measured repeats the one before it."""
    window_s: float

    def __post_init__(self) -> None:
        if self.window_s <= 0:
            raise ValueError(f"window_s must be positive, not {self.window_s}")

    def until(self, count: int) -> History:
        """As it was when only `count` windows had passed."""
        return History(self.values[:count], self.window_s)

    def windows(self, seconds: float) -> int:
        """Whole windows that cover this time, at least one."""
        return max(1, -int(-seconds // self.window_s))


class Forecaster(Protocol):
    @property
    def name(self) -> str: ...

    def forecast(self, history: History, horizon_s: float) -> float:
        """The highest demand that is expected between now and `horizon_s`; never negative.

        Knows what to say of any history, an empty one included (0).
        """
