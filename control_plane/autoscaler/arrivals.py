"""How much work arrives, from totals that only grow (pure; the clock is the caller's).

Jobs are counted and their sizes are averaged, each over as long as it needs: a rate of arrivals
must be young, and the mean of an output's length is noise until many have ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields

from control_plane.autoscaler.forecast.base import History
from control_plane.autoscaler.observation import Load, Tokens

_SUDDEN_S = 10.0
_MEAN_S, _MEAN_MOST_S, _MEAN_JOBS = 60.0, 300.0, 50
"""A rate is the mean of a minute, or of as long as it takes for so many jobs to arrive."""
_SIZES_S, _SIZES_JOBS = 600.0, 20
"""Means of sizes; where fewer jobs ended, those of all times."""
_SAMPLE_S = 1.0
WINDOW_S = 300.0
"""Of the history that forecasts are made of."""
_WINDOWS = round(8 * 86_400 / WINDOW_S)


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals, or what they grew by."""

    jobs: int = 0
    """Accepted."""
    prompt_tokens: int = 0
    """Of those."""
    ended_jobs: int = 0
    output_tokens: int = 0
    """Of those that ended."""

    def plus(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each) + getattr(other, each) for each in _NAMES))

    def since(self, before: Counts) -> Counts:
        """Nothing where a total fell: it is another queue that counts."""
        grown = [getattr(self, each) - getattr(before, each) for each in _NAMES]
        return Counts() if min(grown) < 0 else Counts(*grown)


_NAMES = tuple(each.name for each in fields(Counts))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Means over the jobs of a deployment."""

    prompt_tokens: float = 512.0
    output_tokens: float = 256.0
    """What is believed while no job has ended with an output: a question and its answer."""


class Arrivals:
    """Of one deployment, as one controller watches it."""

    def __init__(self, phase_s: float = 0.0) -> None:
        """`phase_s`: when its windows of history begin: those of many need not end at once."""
        self._phase_s = phase_s
        self._samples: list[tuple[float, Counts]] = []
        """Time, and what grew since the first of all."""
        self._ever = Counts()
        self._history: list[Tokens] = []
        self._histories: tuple[History, History] | None = None
        """The same, as they were told last."""
        self._window: tuple[int, Counts] | None = None
        self.closed = 0
        """Windows of history that have closed, ever."""

    def see(self, grown: Counts, ever: Counts, at_s: float) -> None:
        """Look at the totals once more.

        Args:
            grown: since the last call; of the first one, nothing.
            ever: the totals of all times, for means.
        """
        self._ever = ever
        total = grown.plus(self._samples[-1][1]) if self._samples else Counts()
        young = len(self._samples) > 1 and at_s - self._samples[-2][0] < _SAMPLE_S
        if young:
            self._samples.pop()
        self._samples.append((at_s, total))
        del self._samples[: self._before(_SIZES_S)]
        self._close_windows(total, at_s)

    @property
    def sizes(self) -> Sizes:
        recent = self._since(_SIZES_S)[1]
        accepted = recent if recent.jobs >= _SIZES_JOBS else self._ever
        ended = recent if recent.ended_jobs >= _SIZES_JOBS else self._ever
        prior = Sizes()
        return Sizes(
            accepted.prompt_tokens / accepted.jobs
            if accepted.prompt_tokens
            else prior.prompt_tokens,
            ended.output_tokens / ended.ended_jobs if ended.output_tokens else prior.output_tokens,
        )

    def load(self, waiting: int, waiting_prompt_tokens: int, cached: float) -> Load | None:
        """None until arrivals were watched for a moment.

        Args:
            waiting: jobs that no replica has taken.
            cached: the share of prompts that prefix caches hold.
        """
        if self._since(_SUDDEN_S)[0] < _SUDDEN_S:
            return None
        sizes, (seconds, jobs) = self.sizes, self._recent()
        sudden_s, sudden = self._since(_SUDDEN_S)
        return Load(
            arriving=_rate(jobs, seconds, sizes, cached),
            jobs=jobs,
            sudden=_rate(sudden.jobs, sudden_s, sizes, cached),
            sudden_jobs=sudden.jobs,
            waiting=Tokens(
                waiting_prompt_tokens * (1 - cached), float(waiting * sizes.output_tokens)
            ),
        )

    def history(self) -> tuple[History, History]:
        """Prompt and output tokens a second."""
        if self._histories is None:
            prefill: Sequence[float] = [each.prefill for each in self._history]
            decode: Sequence[float] = [each.decode for each in self._history]
            self._histories = History(prefill, WINDOW_S), History(decode, WINDOW_S)
        return self._histories

    def _recent(self) -> tuple[float, int]:
        """Seconds, and the jobs that arrived in them."""
        last_s, total = self._samples[-1]
        enough = bisect_right(self._samples, total.jobs - _MEAN_JOBS, key=_jobs) - 1
        index = max(min(self._before(_MEAN_S), enough), self._before(_MEAN_MOST_S))
        at_s, before = self._samples[index]
        return last_s - at_s, total.jobs - before.jobs

    def _since(self, seconds: float) -> tuple[float, Counts]:
        """What came in the last so many seconds, or in the shorter time that was watched."""
        if not self._samples:
            return 0.0, Counts()
        last_s, total = self._samples[-1]
        at_s, before = self._samples[self._before(seconds)]
        return last_s - at_s, total.since(before)

    def _before(self, seconds: float) -> int:
        """The index of the newest sample that is so old, or of the oldest."""
        then = self._samples[-1][0] - seconds
        return max(0, bisect_right(self._samples, then, key=_at_s) - 1)

    def _close_windows(self, total: Counts, at_s: float) -> None:
        window = int((at_s - self._phase_s) // WINDOW_S)
        if self._window is None:
            self._window = window, total
            return
        began, before = self._window
        if window <= began:
            return
        # What nobody watched is taken to have come evenly.
        seconds, sizes = (window - began) * WINDOW_S, self.sizes
        rate = _rate(total.since(before).jobs, seconds, sizes, 0.0)
        self._history += [rate] * min(window - began, _WINDOWS)
        del self._history[:-_WINDOWS]
        self._histories = None
        self._window = window, total
        self.closed += window - began


def _at_s(sample: tuple[float, Counts]) -> float:
    return sample[0]


def _jobs(sample: tuple[float, Counts]) -> int:
    return sample[1].jobs


def _rate(jobs: int, seconds: float, sizes: Sizes, cached: float) -> Tokens:
    per_s = jobs / seconds if seconds else 0.0
    return Tokens(per_s * sizes.prompt_tokens * (1 - cached), per_s * sizes.output_tokens)
