"""The relaxed choice of covers and machines: a linear programme whose duals price every cover.

A deployment's parts of covers add up to one, so the value of the programme over a few covers, less
what the best reduced cost of each deployment would save, bounds that over all of them (Lasdon,
Optimization Theory for Large Systems, 1970): few covers are solved for, and all are priced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_matrix, vstack

from control_plane.placement.columns import Columns
from control_plane.placement.enumeration import Covers, Floats, Rows
from control_plane.placement.problem import Problem

_FEW = 9
"""Covers for each deployment, that a programme begins with."""
_MORE = 5
"""Of each deployment, that it grows by."""
_LEFT = 3e-4
"""Of the value, that other covers may still save."""
_TIES = 0.05
"""Many covers cost nothing more at the duals; of these the ones that are cheapest without them."""
_UNSERVED = 2.0
"""Times the cost of every deployment and of a machine everywhere, for one without a cover."""
_LEAF_GAP = 1e-3
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Relaxed:
    bound_usd: float
    """No choice within the limits that were asked with is cheaper."""
    machines: Floats
    """By shared pool, in parts."""
    covers: Rows
    """That are chosen, in parts."""
    parts: Floats
    reduced_usd: Floats
    """Of each cover: what a choice that has it costs more than the bound, at least."""
    limit_usd: Floats
    """What one more of each limit would save."""
    most_usd: Floats
    """What one more machine of each shared pool would save."""
    unserved: float
    """Deployments that have no cover, in parts."""


class Unsolved(ArithmeticError):
    """The solver gave a programme up that has a solution."""


@dataclass(frozen=True, slots=True)
class Choice:
    covers: Sequence[int]
    """One for each deployment."""
    usd: float


class Relaxation:
    def __init__(self, problem: Problem, lists: Sequence[Covers]) -> None:
        self.columns = Columns(problem, lists)
        everything = sum(float(each.usd.min()) for each in lists) + self.columns.machine_usd.sum()
        self._unserved_usd = _UNSERVED * float(everything)
        self._cheapest = np.concatenate([each.usd - each.usd.min() for each in lists])
        self._alive = np.ones(len(self._cheapest), dtype=np.bool)

    def forget(self, dead: NDArray[np.bool]) -> None:
        """Covers that no choice needs any more."""
        self._alive &= ~dead

    def solve(self, least: Floats, most: Floats, like: Relaxed | None, enough: float) -> Relaxed:
        """
        Args:
            least: machines of each shared pool.
            like: what was found within wider limits, to begin with its covers.
            enough: a bound from which on nobody asks for a better one, in dollars.

        Raises:
            Unsolved: see there.
        """
        columns, active = self.columns, self._first(like)
        while True:
            found = self._solve(active, least, most)
            saved = np.where(self._alive, np.maximum(-found.reduced_usd, 0.0), 0.0)
            most_saved = float(np.maximum.reduceat(saved, columns.first_of_owner).sum())
            bound = found.bound_usd - most_saved
            order = np.lexsort((-saved, columns.owner))
            rank = np.arange(len(order)) - columns.first_of_owner[columns.owner]
            more = np.setdiff1d(order[(rank < _MORE) & (saved[order] > _SLACK)], active)
            if bound >= enough or most_saved <= _LEFT * found.bound_usd or not len(more):
                return replace(found, bound_usd=bound)
            active = np.union1d(active, more)

    def choose(self, covers: Rows, most: Floats, enough: float, nodes: int) -> Choice | None:
        """The cheapest choice among a few covers, if it is cheaper than what is enough.

        Args:
            most: machines of each shared pool.
        """
        columns, pools = self.columns, len(self.columns.pools)
        costs = np.concatenate([columns.machine_usd, columns.cover_usd[covers]])
        low = np.full(len(columns.high) + 1, -np.inf)
        low[columns.choices : -1] = 1.0
        rows = vstack([columns.of(covers, unserved=False), csc_matrix(costs)]).tocsc()
        high = np.concatenate([np.minimum(most, columns.most), np.ones(len(covers))])
        answer = milp(
            costs,
            constraints=LinearConstraint(rows, low, np.append(columns.high, enough)),
            bounds=Bounds(0.0, high),
            integrality=np.ones(len(costs)),
            options={"node_limit": nodes, "mip_rel_gap": _LEAF_GAP},
        )
        if answer.x is None:
            return None
        chosen = covers[answer.x[pools:] > 0.5]
        return Choice([int(cover) for cover in chosen], columns.usd(chosen))

    def _first(self, like: Relaxed | None) -> Rows:
        worth = self._cheapest if like is None else like.reduced_usd + _TIES * self._cheapest
        worth = np.where(self._alive, worth, np.inf)
        few = _FEW * (len(self.columns.lists) + _FEW)
        first = np.argpartition(worth, min(few, len(worth)) - 1)[:few]
        first = first[np.isfinite(worth[first])]
        return np.union1d(first, () if like is None else like.covers).astype(np.intp)

    def _solve(self, active: Rows, least: Floats, most: Floats) -> Relaxed:
        columns, pools = self.columns, len(self.columns.pools)
        covers = pools + len(columns.lists)
        unserved = np.full(len(columns.lists), self._unserved_usd)
        costs = np.concatenate([columns.machine_usd, unserved, columns.cover_usd[active]])
        bounds = np.zeros((len(costs), 2))
        bounds[:, 1] = np.inf
        bounds[:pools] = np.column_stack([least, np.minimum(most, columns.most)])
        rows = columns.of(active, unserved=True)
        answer = linprog(
            costs,
            A_ub=rows[: columns.choices],
            b_ub=columns.high[: columns.choices],
            A_eq=rows[columns.choices :],
            b_eq=columns.high[columns.choices :],
            bounds=bounds,
            method="highs-ds",
            options={"presolve": False},
        )
        if answer.x is None:
            raise Unsolved(answer.message)
        duals, parts = answer.ineqlin.marginals, answer.x[covers:]
        reduced = columns.cover_usd - columns.priced @ duals
        reduced -= answer.eqlin.marginals[columns.owner]
        return Relaxed(
            float(answer.fun),
            answer.x[:pools],
            active[parts > _SLACK],
            parts[parts > _SLACK],
            reduced,
            -duals[pools:],
            -answer.upper.marginals[:pools],
            float(answer.x[pools:covers].sum()),
        )
