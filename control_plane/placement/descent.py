"""A good choice of covers without a solver: deployments choose one after the other, again and
again, each the cover that adds least to what the others pay for; and machines are given back by all
who share them at once.

The first is coordinate descent over whole machines. It ends where nobody alone can save anything,
though all who share a machine together could: so the slots of one machine are made dearer step by
step until the least regretful have left it, as prices do in a Lagrangian heuristic (Held, Wolfe and
Crowder, Mathematical Programming 6, 1974).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from control_plane.placement.choices import Choices, Options
from control_plane.placement.enumeration import Floats

_LEFT_OVER = (0.0, 0.3, 0.6, 1.0)
"""What a slot that nobody uses yet is counted with: at first nothing, since somebody may come."""
_LEFT_OVER_WHILE_LEAVING = 0.2
_PENALTIES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 50.0)
"""For a slot of a machine that is to be given back, on top of its price, as a share of that."""
_SWEEPS = 8
"""Over all deployments; few choices need more than four."""
_SWEEPS_AFTER = 3
_RETURNS = 4
"""Rounds over all machines."""
_MOST_REPAIRS = 40
"""Machines that are given back to keep limits."""
_SLACK = 1e-9

Choice = list[int]


class _Fewer(NamedTuple):
    """A pool that is to have fewer machines."""

    pool: int
    slots: float
    """Of those that it is to have."""
    penalty: float
    """For a slot more."""


class Descent:
    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        dearest = [-float(listed.usd[0]) for listed in choices.lists]
        self._everybody = sorted(range(len(dearest)), key=lambda each: (dearest[each], each))

    def run(self) -> Choice | None:
        """A choice that keeps all limits; None where it found none."""
        chosen = [0] * len(self._everybody)
        for left_over in _LEFT_OVER:
            chosen = self._settled(chosen, self._everybody, left_over, _SWEEPS)
        within = self._within_limits(chosen)
        return None if within is None else self._with_machines_returned(within)

    def _within_limits(self, chosen: Choice) -> Choice | None:
        """Machines are given back, one by one, where that costs least for what it frees."""
        beyond = self._choices.beyond(chosen)
        for _ in range(_MOST_REPAIRS):
            if not beyond.any():
                return chosen
            before_usd = self._choices.usd(chosen)
            better: list[tuple[float, Choice]] = []
            for pool in self._counted(chosen, int(np.argmax(beyond))):
                other = self._with_one_less(chosen, pool)
                freed = 0.0 if other is None else (beyond - self._choices.beyond(other)).sum()
                if other is not None and freed > 0:
                    better.append(((self._choices.usd(other) - before_usd) / freed, other))
            if not better:
                return None
            chosen = min(better)[1]
            beyond = self._choices.beyond(chosen)
        return None

    def _counted(self, chosen: Choice, limit: int) -> Iterator[int]:
        """Pools in use whose machines count with it."""
        used = self._choices.slots(chosen) > 0
        yield from map(int, np.flatnonzero(used & (self._choices.takes[:, limit] > 0)))

    def _with_machines_returned(self, chosen: Choice) -> Choice:
        """As many as it saves something to give back."""
        usd = self._choices.usd(chosen)
        for _ in range(_RETURNS):
            before_usd = usd
            for pool in self._wasteful(chosen):
                other = self._with_one_less(chosen, pool)
                if other is not None and self._choices.usd(other) < usd - _SLACK:
                    chosen, usd = other, self._choices.usd(other)
            if usd == before_usd:
                break
        return chosen

    def _wasteful(self, chosen: Choice) -> Iterator[int]:
        """Shared machines in use, by what their free slots cost."""
        choices, slots = self._choices, self._choices.slots(chosen)
        wasted_usd = (choices.machines(slots) * choices.devices - slots) * choices.slot_usd
        for pool in np.argsort(-wasted_usd, kind="stable"):
            if slots[pool] > 0 and choices.devices[pool] > 1:
                yield int(pool)

    def _with_one_less(self, chosen: Choice, pool: int) -> Choice | None:
        """Without one machine of a pool; None where its deployments have nowhere to go."""
        devices = float(self._choices.devices[pool])
        slots = float(self._choices.slots(chosen)[pool])
        fewer = (np.ceil(slots / devices - _SLACK) - 1) * devices
        for penalty in _PENALTIES:
            there = [each for each in self._everybody if self._uses(chosen, each, pool)]
            asked = _Fewer(pool, fewer, penalty)
            chosen = self._settled(chosen, there, _LEFT_OVER_WHILE_LEAVING, 1, asked)
            if self._choices.slots(chosen)[pool] <= fewer + _SLACK:
                forbidding = asked._replace(penalty=_PENALTIES[-1])
                return self._settled(chosen, self._everybody, 1.0, _SWEEPS_AFTER, forbidding)
        return None

    def _uses(self, chosen: Choice, deployment: int, pool: int) -> bool:
        options = self._choices.options[deployment]
        return bool((options.slots[chosen[deployment]][options.pools == pool] > 0).any())

    def _settled(
        self,
        chosen: Choice,
        deployments: Sequence[int],
        left_over: float,
        sweeps: int,
        fewer: _Fewer | None = None,
    ) -> Choice:
        """After so many sweeps, or when none of them would choose another cover.

        Args:
            left_over: the share of its price that a slot which nobody uses is counted with.
        """
        chosen, slots = list(chosen), self._choices.slots(chosen)
        for _ in range(sweeps):
            settled = True
            for each in deployments:
                options, now = self._choices.options[each], chosen[each]
                slots[options.pools] -= options.slots[now]
                usd = self._added_usd(options, slots, left_over, fewer)
                usd[self._forbidden(options, slots, now)] = np.inf
                best = int(np.argmin(usd))
                if usd[best] < usd[now] - _SLACK:
                    chosen[each], settled = best, False
                slots[options.pools] += options.slots[chosen[each]]
            if settled:
                break
        return chosen

    def _added_usd(
        self, options: Options, others: Floats, left_over: float, fewer: _Fewer | None
    ) -> Floats:
        """Of each cover, on top of what the others use; up to what all of them have in common."""
        choices, pools = self._choices, options.pools
        slots = others[pools] + options.slots
        machines = choices.machines(slots, pools)
        usd: Floats = machines @ choices.machine_usd[pools] + options.starts_usd
        if left_over < 1:
            free = machines * choices.devices[pools] - slots
            usd -= (1 - left_over) * (free @ choices.slot_usd[pools])
        if fewer is not None:
            more = np.maximum(0.0, slots[:, pools == fewer.pool] - fewer.slots)
            usd += fewer.penalty * choices.slot_usd[fewer.pool] * more.sum(axis=1)
        return usd

    def _forbidden(self, options: Options, others: Floats, now: int) -> NDArray[np.bool]:
        """Covers that go further beyond a limit than the one that is chosen now."""
        choices, pools, limits = self._choices, options.pools, options.limits
        takes = choices.takes[pools][:, limits]
        elsewhere = choices.machines(others) @ choices.takes[:, limits]
        elsewhere -= choices.machines(others[pools], pools) @ takes
        taken = choices.machines(others[pools] + options.slots, pools) @ takes + elsewhere
        beyond = np.maximum(0.0, taken - choices.limits[limits])
        forbidden: NDArray[np.bool] = (beyond > beyond[now] + _SLACK).any(axis=1)
        return forbidden
