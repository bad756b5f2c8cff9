"""What one start of a replica takes, phase by phase, on the agent's monotonic clock (pure)."""

from __future__ import annotations

from collections.abc import Callable

from infra.starts import Phase, Tier
from infra.wire import StartReport

_FURTHEST_LAST = tuple(Tier)


class StartClock:
    """A phase ends where the next one begins.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float], wakes: int = 0) -> None:
        self._clock = clock
        self._wakes = wakes
        self._phases_s: dict[str, float] = {}
        self._phase: Phase | None = None
        self._since_s = 0.0
        self._bytes: dict[str, int] = {}
        self.standby = False

    def enter(self, phase: Phase) -> None:
        """What is done from now on; a phase may be entered again."""
        self.end()
        self._phase, self._since_s = phase, self._clock()

    def end(self) -> None:
        """The phase that was entered has ended, and no other begins."""
        if self._phase is not None:
            self.spent(self._phase, self._clock() - self._since_s)
        self._phase = None

    def spent(self, phase: Phase, seconds: float) -> None:
        """A duration that somebody else has measured."""
        self._phases_s[phase.value] = self._phases_s.get(phase.value, 0.0) + seconds

    def split(self, phase: Phase, part: Phase, share: float) -> None:
        """This share of a phase that has ended was another one's."""
        seconds = self._phases_s.get(phase.value, 0.0) * share
        if seconds > 0:
            self.spent(phase, -seconds)
            self.spent(part, seconds)

    @property
    def has_read(self) -> bool:
        """Whether it is known where the bytes came from."""
        return bool(self._bytes)

    def read(self, tier: Tier, count_bytes: int) -> None:
        """So many bytes of the model came from there."""
        self._bytes[tier.value] = self._bytes.get(tier.value, 0) + count_bytes

    def report(self) -> StartReport:
        return StartReport(
            wakes=self._wakes,
            phases_s={name: round(seconds, 6) for name, seconds in self._phases_s.items()},
            tier=max(map(Tier, self._bytes), key=_FURTHEST_LAST.index).value if self._bytes else "",
            bytes_by_tier=dict(self._bytes),
            standby=self.standby,
        )


class FirstToken:
    """How long the first token took, from when the replica was ready and had something to do."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
        self.took_s: float | None = None

    def nothing_waits(self, now_s: float) -> None:
        self._since_s = now_s

    def said(self, now_s: float) -> float:
        """The first one: how long it took."""
        self.took_s = now_s - self._since_s
        return self.took_s
