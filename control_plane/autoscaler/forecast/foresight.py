"""What a deployment's demand will be by the time that new replicas would be there, by whichever
forecaster its own past speaks for (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.autoscaler.forecast.backtest import FORECASTERS, choose
from control_plane.autoscaler.forecast.base import Forecaster, History

_CHOOSE_EVERY = 12
"""Windows."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    forecaster: str
    prefill: float
    """Tokens a second, the most until the horizon."""
    decode: float


class Foresight:
    """Remembers what it said until another window has closed: nothing is known anew before."""

    def __init__(self) -> None:
        self._forecaster: Forecaster = FORECASTERS[0]
        self._closed = 0
        self._said: Foreseen | None = None

    def look(
        self, prefill: History, decode: History, closed: int, horizon_s: float
    ) -> Foreseen | None:
        """None while nothing foretells more than that demand stays as it is.

        Args:
            closed: windows that have closed, ever.
        """
        if closed == self._closed:
            return self._said
        if closed // _CHOOSE_EVERY != self._closed // _CHOOSE_EVERY:
            both = [sum(each) for each in zip(prefill.values, decode.values, strict=True)]
            self._forecaster = choose(History(both, prefill.window_s), horizon_s).forecaster
        self._closed = closed
        self._said = self._ask(prefill, decode, horizon_s)
        return self._said

    def _ask(self, prefill: History, decode: History, horizon_s: float) -> Foreseen | None:
        chosen = self._forecaster
        if chosen is FORECASTERS[0]:
            return None
        return Foreseen(
            chosen.name,
            chosen.forecast(prefill, horizon_s),
            chosen.forecast(decode, horizon_s),
        )
