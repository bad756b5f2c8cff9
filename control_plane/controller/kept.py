"""The most that was needed within the last while."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

_ANOTHERS_S = 1800.0
"""For which what another controller has asked for is left to it to give up, unless it is gone."""


class Peak:
    """The greatest of the values seen within a window: a queue that only falls."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._falling: deque[tuple[float, int]] = deque()

    def see(self, value: int, now_s: float) -> int:
        while self._falling and self._falling[-1][1] <= value:
            self._falling.pop()
        self._falling.append((now_s, value))
        return self.now(now_s)

    def now(self, now_s: float) -> int:
        """The newest counts however old it is; 0 before the first."""
        while len(self._falling) > 1 and now_s - self._falling[0][0] > self._window_s:
            self._falling.popleft()
        return self._falling[0][1] if self._falling else 0


class Kept:
    """What recent decisions would not give up, by deployment. A process that has just started
    remembers that what runs was needed. What another controller has asked for since, which may
    foresee more, is its to give up: else the two would take turns."""

    def __init__(self) -> None:
        self._peaks: dict[tuple[str, float], Peak] = {}
        self._others: dict[str, Peak] = {}
        self._targets: dict[str, int] = {}

    def of(self, deployment_id: str, window_s: float, current: int, now_s: float) -> int:
        """Replicas.

        Args:
            current: the target, whoever decided it.
        """
        key = deployment_id, window_s
        if key not in self._peaks:
            self._peaks[key] = Peak(window_s)
            self._peaks[key].see(current, now_s)
        others = self._others.setdefault(deployment_id, Peak(_ANOTHERS_S))
        anothers = current > self._targets.get(deployment_id, current)
        self._targets[deployment_id] = current
        return max(self._peaks[key].now(now_s), others.see(current if anothers else 0, now_s))

    def see(self, deployment_id: str, window_s: float, keeps: int, now_s: float) -> None:
        self._peaks[deployment_id, window_s].see(keeps, now_s)

    def moved(self, deployment_id: str, target: int) -> None:
        """This process has changed the target."""
        self._targets[deployment_id] = target

    def keep_only(self, deployment_ids: Collection[str]) -> None:
        """Forget deployments that are gone."""
        self._peaks = {key: peak for key, peak in self._peaks.items() if key[0] in deployment_ids}
        self._others = {key: peak for key, peak in self._others.items() if key in deployment_ids}
        self._targets = {key: each for key, each in self._targets.items() if key in deployment_ids}
