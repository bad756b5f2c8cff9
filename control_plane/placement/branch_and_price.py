"""The placement programme for many deployments that share large machines, by branch and price.

With a column for replicas of each pool its relaxation is 4 to 9 % below its optimum, since parts of
replicas buy parts of large machines. With a column for each cover of a deployment instead (Dantzig
and Wolfe, Operations Research 8, 1960) covers are whole, the relaxation is 1 to 3 % below, and what
is left to search for is how many of the shared machines there are.

That is quick where what one machine leaves over is little against the cost of all of them; few
deployments, or such as stay where they are, are better left to `Programme`.
"""

from __future__ import annotations

from control_plane.placement.branching import Branching
from control_plane.placement.candidates import Carriers, carriers, near_usd
from control_plane.placement.columns import Columns
from control_plane.placement.listing import listing
from control_plane.placement.offer import Pool
from control_plane.placement.plan import Plan, plan_of
from control_plane.placement.problem import Problem
from control_plane.placement.relaxation import Choice, Unsolved

_INFINITE = float("inf")
_WIDER = 8.0
_LISTINGS = 3
"""At most; one is enough where machines are small against what is asked for."""
_HOPELESS = 3.0
"""Times the gap: from there on more covers do not help."""


def branch_and_price(problem: Problem, gap: float, nodes: int) -> Plan | None:
    """None where it found nothing within its bounds, or little is known of what it found.

    Args:
        gap: of the plan's cost, above what is certain, at which the search ends.
        nodes: relaxed choices to look at, for each listing of covers.

    Raises:
        Impossible: nothing can carry a deployment that needs something.
    """
    carried = carriers(problem)
    try:
        return _searched(problem, carried, gap, nodes) if carried else None
    except Unsolved:
        return None


def _searched(problem: Problem, carried: Carriers, gap: float, nodes: int) -> Plan | None:
    """Lists more covers until none that is missing could be in a better plan."""
    within_usd = near_usd(problem, carried, gap)
    best, best_usd, bound = None, _INFINITE, 0.0
    for _ in range(_LISTINGS):
        listed = listing(problem, carried, within_usd)
        if listed is None:
            break
        search = Branching(listed.relaxation, gap, nodes, best_usd)
        search.run(listed.root)
        if search.best is not None:
            best, best_usd = _replicas(listed.relaxation.columns, search.best), search.best.usd
        target = (1 - gap) * best_usd
        bound = max(bound, min(search.bound_usd, listed.below_usd, best_usd))
        if bound < (1 - _HOPELESS * gap) * best_usd:
            return None
        if listed.below_usd >= target or not listed.complete:
            break
        within_usd = min(target - listed.cheapest_usd, _WIDER * within_usd)
    return None if best is None else plan_of(problem, best, float(bound), "branch-and-price")


def _replicas(columns: Columns, choice: Choice) -> dict[str, dict[Pool, int]]:
    found = {}
    for number in choice.covers:
        listed, row = columns.cover(number)
        counted = zip(listed.fits, listed.counts[row], strict=True)
        found[listed.want.deployment] = {fit.pool: int(count) for fit, count in counted if count}
    return found
