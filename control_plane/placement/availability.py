"""What a pool's past says of its future: will a launch succeed, how often are machines taken away.

Counts with exponential decay: an observation of a day ago weighs as much as the half-life says, and
what has never been seen is the prior. Recorded spot markets stay as they are for a median of 0.3 to
1.4 hours with a heavy tail, so hours matter and weeks do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_HALF_LIFE_S = 2 * 3600.0
_CLOSED_S = 600.0
"""After a refusal; longer the more of them there were lately: spot gaps last a third of an hour to
an hour and a half in the median."""
_MOST_REFUSALS = 6
_PRIOR_LAUNCHES = 2.0
_PRIOR_SUCCESSES = 1.8
_PRIOR_HOURS = 24.0
_PRIOR_LOSSES = 1.2
"""Of spot machines: one in twenty an hour, which is what clouds call rare to middling."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Of one pool; immutable, so that it can be stored and replayed.

    Times are in seconds of any one clock; what comes out of order counts as of the newest time.
    """

    at_s: float = 0.0
    launches: float = 0.0
    successes: float = 0.0
    hours: float = 0.0
    """That instances have run."""
    losses: float = 0.0
    closed_until_s: float = 0.0
    """Nobody asks it for machines before: it has just refused one."""

    def launched(self, now_s: float, succeeded: bool) -> Availability:
        """A launch succeeded, or was refused for want of capacity."""
        aged = self.at(now_s)
        more = replace(aged, launches=aged.launches + 1)
        if succeeded:
            return replace(more, successes=aged.successes + 1, closed_until_s=0.0)
        refusals = min(_MOST_REFUSALS, max(1, round(more.launches - more.successes)))
        return replace(more, closed_until_s=more.at_s + _CLOSED_S * refusals)

    def ran(self, now_s: float, hours: float) -> Availability:
        """Instances ran for so long together since this was last said."""
        aged = self.at(now_s)
        return replace(aged, hours=aged.hours + max(0.0, hours))

    def lost(self, now_s: float, instances: float = 1.0) -> Availability:
        """The cloud took instances away; less than one where it may."""
        aged = self.at(now_s)
        return replace(aged, losses=aged.losses + instances)

    def launch_share(self, now_s: float) -> float:
        """Of launches now, those that will succeed; between 0 and 1."""
        aged = self.at(now_s)
        return (aged.successes + _PRIOR_SUCCESSES) / (aged.launches + _PRIOR_LAUNCHES)

    def losses_per_hour(self, now_s: float) -> float:
        """Of one running instance."""
        aged = self.at(now_s)
        return (aged.losses + _PRIOR_LOSSES) / (aged.hours + _PRIOR_HOURS)

    def at(self, now_s: float) -> Availability:
        """What it says when so much time has passed."""
        elapsed_s = max(0.0, now_s - self.at_s)
        kept = math.exp2(-elapsed_s / _HALF_LIFE_S)
        return replace(
            self,
            at_s=self.at_s + elapsed_s,
            launches=self.launches * kept,
            successes=self.successes * kept,
            hours=self.hours * kept,
            losses=self.losses * kept,
        )


def decayed_hours(running_s: float) -> float:
    """What the hours of an instance that has run until now, for so long, still count."""
    half_life_h = _HALF_LIFE_S / 3600.0
    return half_life_h / math.log(2) * (1 - math.exp2(-max(0.0, running_s) / _HALF_LIFE_S))
