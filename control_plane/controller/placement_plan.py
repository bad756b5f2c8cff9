"""What is done for the replicas that wait: as many as can be placed at once, and why the others
wait on (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from control_plane.controller.placement_machines import Machine, assign
from control_plane.controller.placement_problem import (
    market_of,
    pool_of_instance,
    problem_of,
)
from control_plane.controller.placement_rows import Placed, PlacementRows
from control_plane.controller.placement_spec import placement_policy
from control_plane.placement.in_turn import in_turn
from control_plane.placement.offer import Pool
from control_plane.placement.optimiser import place
from control_plane.placement.plan import Plan
from control_plane.placement.problem import Impossible, Problem
from control_plane.store.tables import Replica
from infra.cloud.base import CloudOffer


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    problem: Problem
    plan: Plan
    new: Sequence[Machine]
    onto: Mapping[str, Sequence[Replica]]
    """By id of an instance that is there and has slots free."""
    pool_of: Mapping[str, Pool]
    """Of those instances."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """By `Placed.id`, why some of its replicas go on waiting."""
    offers_age_s: float = 0.0
    """Since the cloud was asked what it sells."""

    def why_not(self, placed_id: str) -> str:
        """Why some of its replicas go on waiting, in a sentence; empty where none do."""
        reason = self.impossible.get(placed_id, "")
        reached = ", ".join(
            f"{quota.region} {quota.family} {quota.market}: {vcpus} virtual CPUs "
            "for machines that stay"
            for quota, vcpus in sorted(self.problem.quotas.items())
        )
        if reason and reached:
            return f"{reason}; a quota of the AWS account is reached ({reached})"
        return reason


def plan_placement(rows: PlacementRows, told: Sequence[CloudOffer]) -> PlacementPlan:
    """Solves the programme; it takes a while, and nothing of it belongs on the event loop."""
    market = market_of(rows, told)
    waiting, impossible = _possible(rows, market)
    problem = problem_of(rows, market, waiting)
    try:
        plan = place(problem)
    except Impossible:
        # Together they want more than there is: the oldest deployments first.
        waiting, more = _one_after_the_other(rows, market, waiting)
        impossible |= more
        problem = problem_of(rows, market, waiting)
        plan = place(problem)
    made = assign(rows, problem, plan, waiting)
    pool_of = {each.id: pool_of_instance(each) for each in rows.instances if each.id in made.onto}
    impossible = made.held_back | impossible
    return PlacementPlan(problem, plan, made.machines, made.onto, pool_of, impossible)


def _possible(rows: PlacementRows, market: Problem) -> tuple[dict[str, int], dict[str, str]]:
    """Of each deployment, how many that wait could be placed if it were alone."""
    waiting: dict[str, int] = {}
    impossible: dict[str, str] = {}
    for placed in rows.placed:
        id, count = placed.id, len(placed.waiting)
        own = [each for each in rows.placed if each is placed or each.shares_with(placed)]
        granted = {each.id: waiting.get(each.id, 0) for each in own}
        if any(granted.values()) and placement_policy(placed.deployment.spec).limits_price:
            count = 0  # until what the other revision's replicas cost is known
        while count:
            alone = problem_of(replace(rows, placed=own), market, {**granted, id: count})
            reason = _why_not(alone).removeprefix(f"{id}: ")
            if not reason:
                break
            impossible.setdefault(id, reason)
            count -= 1
        waiting[id] = count
    return waiting, impossible


def _one_after_the_other(
    rows: PlacementRows, market: Problem, waiting: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, str]]:
    granted = dict.fromkeys(waiting, 0)
    impossible: dict[str, str] = {}
    for placed in sorted(rows.placed, key=_oldest):
        id = placed.id
        for count in range(waiting[id], 0, -1):
            together = problem_of(rows, market, granted | {id: count})
            reason = _why_not(together).removeprefix(f"{id}: ")
            if not reason:
                granted[id] = count
                break
            impossible.setdefault(id, reason)
    return granted, impossible


def _oldest(placed: Placed) -> str:
    return min((each.id for each in placed.waiting), default="~")


def _why_not(problem: Problem) -> str:
    """Empty where there is a plan; of what is wrong with one deployment, the first."""
    try:
        in_turn(problem)
    except Impossible as error:
        return str(error)
    return ""
