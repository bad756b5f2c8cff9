"""Branch and price over counts of machines (Barnhart et al., Operations Research 46, 1998).

With whole machines in every pool the relaxed choice is nearly a whole one, so nearly all that is
left to search for is how many machines there are of each kind that several slots share. The search
goes down first, to have a plan, and then on wherever the bound is lowest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from control_plane.placement.enumeration import Floats
from control_plane.placement.relaxation import Choice, Relaxation, Relaxed

_WHOLE = 1e-6


class _Few(NamedTuple):
    """Covers to choose among at a leaf, for each deployment of the problem."""

    own: int
    """Of deployments that have theirs in parts."""
    near: int
    """Of any."""
    tight: bool = False
    """With no more machines than the relaxed choice has."""


_LEAF_COVERS = (_Few(2, 1), _Few(12, 6, tight=True), _Few(6, 3))
"""Each where those before were not enough."""
_LEAF_NODES = 1


@dataclass(slots=True)
class Branching:
    relaxation: Relaxation
    gap: float
    nodes: int
    """At most."""
    known_usd: float = np.inf
    """What a plan costs that is there already."""
    best: Choice | None = None
    bound_usd: float = np.inf
    """No choice costs less."""
    looked: int = 0
    _open: list[tuple[Floats, Floats, Relaxed]] = field(default_factory=list)

    def run(self, root: Relaxed) -> None:
        """Until nothing is left that would be better by more than the gap."""
        pools = len(self.relaxation.columns.pools)
        self._forget(root)
        self._open.append((np.zeros(pools), np.full(pools, np.inf), root))
        while self._open and self.looked < self.nodes:
            least, most, like = self._next()
            self._dive(least, most, like, root)
        left = [like.bound_usd for *_, like in self._open]
        # A plan with a cover that was forgotten costs that much at least.
        self.bound_usd = min(self.bound_usd, self.enough, *left)

    @property
    def enough(self) -> float:
        """What costs as much as this, in dollars, is not worth a look."""
        return (1 - self.gap) * self._best_usd

    @property
    def _best_usd(self) -> float:
        return self.known_usd if self.best is None else self.best.usd

    def _next(self) -> tuple[Floats, Floats, Relaxed]:
        """Beside where the last dive ended until there is a plan, then wherever the bound is
        lowest."""
        if self._best_usd == np.inf:
            return self._open.pop()
        bounds = [like.bound_usd for *_, like in self._open]
        return self._open.pop(int(np.argmin(bounds)))

    def _dive(self, least: Floats, most: Floats, like: Relaxed, root: Relaxed) -> None:
        """Down to where nothing is left to find."""
        bound = like.bound_usd
        while bound < self.enough:
            like = self.relaxation.solve(least, most, like, self.enough)
            self.looked += 1
            bound = max(bound, like.bound_usd)
            if bound >= self.enough or like.unserved > _WHOLE:
                break
            pool = self._split(like)
            if pool is None:
                self._leaf(like, root)
                break
            count = like.machines[pool]
            fewer, more = most.copy(), least.copy()
            fewer[pool], more[pool] = np.floor(count), np.ceil(count)
            if count - np.floor(count) < 0.5:
                self._open.append((more, most, like))
                most = fewer
            else:
                self._open.append((least, fewer, like))
                least = more
        self.bound_usd = min(self.bound_usd, bound)

    def _split(self, found: Relaxed) -> int | None:
        """The pool whose machines are furthest from whole, by their price."""
        away = (
            np.abs(found.machines - np.round(found.machines)) * self.relaxation.columns.machine_usd
        )
        away[away < _WHOLE] = 0.0
        return int(np.argmax(away)) if away.any() else None

    def _leaf(self, found: Relaxed, root: Relaxed) -> None:
        """A choice near the relaxed one: whoever has one cover nearly keeps it."""
        relaxation = self.relaxation
        owner, deployments = relaxation.columns.owner, len(relaxation.columns.lists)
        split = np.unique(owner[found.covers[found.parts < 1 - _WHOLE]])
        near = np.argsort(found.reduced_usd, kind="stable")
        own = near[np.isin(owner[near], split)]
        whole = np.round(found.machines)
        for few in _LEAF_COVERS:
            some = own[: few.own * deployments], near[: few.near * deployments], found.covers
            most = whole if few.tight else np.full(len(whole), np.inf)
            covers = np.unique(np.concatenate(some))
            choice = relaxation.choose(covers, most, self._best_usd, _LEAF_NODES)
            if choice is not None and choice.usd < self._best_usd:
                self.best = choice
                self._forget(root)
            if found.bound_usd >= self.enough:
                break

    def _forget(self, root: Relaxed) -> None:
        """Covers that no better choice has."""
        self.relaxation.forget(root.reduced_usd > self.enough - root.bound_usd)
