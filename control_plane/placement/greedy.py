"""A plan without a solver, for when that is cut off: deployments choose one after the other, each
the cheapest cover for itself, given what the others have; and then again. What they have come to
share is then given back machine by machine, wherever that is cheaper for all of them together.
"""

from __future__ import annotations

from control_plane.placement.plan import Plan, cost
from control_plane.placement.problem import Problem
from control_plane.placement.search import Search
from control_plane.placement.stock import Stock

_ROUNDS = (0.0, 0.3, 0.6, 1.0, 1.0)
"""What a slot that nobody uses yet is counted with: at first nothing, since somebody may come."""
_SWEEPS = 8
"""Over all pools; few plans need more than three."""


def greedy(problem: Problem) -> Plan:
    """Deployments whose replicas are largest choose first.

    Raises:
        Impossible: limits are reached before a deployment's needs are met.
    """
    search = Search(problem, Stock(problem))
    for left_over in _ROUNDS:
        for want in search.wants:
            search.choose(want, left_over)
    for _ in range(_SWEEPS):
        given_back = [pool for pool in search.instances if search.close(pool)]
        if not given_back:
            break
    instances = search.instances
    return Plan(instances, search.placed, cost(problem, instances), None, "greedy")
