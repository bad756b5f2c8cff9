"""Which machine is to be given back, because what runs on it costs less elsewhere (pure).

The programme weighs a move's start against an hour's saving. One machine at a time: its replicas
are replaced first and drained then, and what that taught is known before the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.controller.placement_problem import (
    market_of,
    pool_of_instance,
    problem_of,
)
from control_plane.controller.placement_rows import Placed, PlacementRows
from control_plane.placement.offer import Pool
from control_plane.placement.optimiser import place
from control_plane.placement.plan import Plan, cost, start_cost
from control_plane.placement.problem import Impossible, Problem
from control_plane.store.tables import Replica
from infra.cloud.base import CloudOffer

_SETTLED_S = 900.0
"""Nobody is moved who was just started or moved: prices go up and down within minutes."""
_LEAST_SHARE = 0.02
"""Of all costs: less is within what the search leaves open."""


@dataclass(frozen=True, slots=True)
class Move:
    """Off one machine."""

    reason: str
    """`spot_back`: spot has machines again; `cheaper`."""
    off: Pool
    instance_id: str
    replicas: Sequence[Replica]
    deployments: Sequence[Placed]
    to: Mapping[Pool, int]
    """Where the plan has more than there is."""
    saved_usd_per_hour: float
    start_usd: float


def consolidate(rows: PlacementRows, told: Sequence[CloudOffer]) -> Move | None:
    """The machine that costs most among those that the plan would do without."""
    waiting = {placed.id: len(placed.waiting) for placed in rows.placed}
    problem = problem_of(rows, market_of(rows, told), waiting, moves=True)
    try:
        plan = place(problem)
    except Impossible:
        return None
    have = _working(rows, problem)
    saved = cost(problem, have) - plan.usd_per_hour
    starts = start_cost(problem, plan.replicas)
    if saved <= starts + _LEAST_SHARE * cost(problem, have):
        return None
    for pool in sorted(have - Counter(plan.instances), key=lambda each: -_usd(problem, each)):
        move = _off(rows, problem, plan, pool, saved, starts)
        if move is not None:
            return move
    return None


def _working(rows: PlacementRows, problem: Problem) -> Counter[Pool]:
    """Machines that the programme weighs. Those that stay warm for nobody's replicas, or are being
    emptied, are there whatever it says: to do without them saves nothing."""
    carrying = {at.id for placed in rows.placed for _, at in placed.running} - rows.emptied
    pools = (pool_of_instance(each) for each in rows.instances if each.id in carrying)
    return Counter(pool for pool in pools if pool in problem.offers)


def _off(
    rows: PlacementRows, problem: Problem, plan: Plan, pool: Pool, saved: float, starts: float
) -> Move | None:
    """Off the emptiest machine of the pool whose replicas all may move."""
    among = [each for each in rows.instances if pool_of_instance(each) == pool]
    among.sort(key=lambda each: (rows.slots_taken.get(each.id, 0), each.id))
    restless = {placed.deployment.id for placed in rows.placed if not placed.calm}
    for instance in among:
        own = [
            (placed, replica)
            for placed in rows.placed
            for replica, at in placed.running
            if at.id == instance.id
        ]
        movable = own and all(
            placed.deployment.id not in restless and rows.now - replica.updated_at > _SETTLED_S
            for placed, replica in own
        )
        alone = len(own) == rows.slots_taken.get(instance.id, 0)
        if movable and alone and instance.id not in rows.emptied:
            to = _gained(problem, plan)
            back = pool.market == "on-demand" and any(each.market == "spot" for each in to)
            return Move(
                "spot_back" if back else "cheaper",
                pool,
                instance.id,
                [replica for _, replica in own],
                list({placed.deployment.id: placed for placed, _ in own}.values()),
                to,
                saved,
                starts,
            )
    return None


def _gained(problem: Problem, plan: Plan) -> Counter[Pool]:
    gained: Counter[Pool] = Counter()
    for want in problem.wants:
        planned = Counter(plan.replicas.get(want.deployment, {}))
        gained += planned - Counter(want.running)
    return gained


def _usd(problem: Problem, pool: Pool) -> float:
    return problem.usd_per_hour(pool)
