"""From a plan to what is done: which waiting replica goes where, and what its launch may take
instead (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from control_plane.controller.placement_problem import (
    market_of,
    pool_of_instance,
    problem_of,
)
from control_plane.controller.placement_rows import Placed, PlacementRows
from control_plane.placement.candidates import unit_usd
from control_plane.placement.greedy import greedy
from control_plane.placement.offer import Pool
from control_plane.placement.optimiser import place
from control_plane.placement.plan import Plan
from control_plane.placement.problem import Impossible, Problem, Want
from control_plane.store.tables import Instance, Replica
from infra.cloud.base import CloudOffer

_NEAR = 1.1
"""As dear as this, another pool would do as well: the provider knows better which has room."""
_MOST_ALTERNATIVES = 9


@dataclass(frozen=True, slots=True)
class Machine:
    """One to launch for these replicas."""

    pool: Pool
    usd_per_hour: float
    alternatives: Sequence[Mapping[str, str | float]]
    """As `Instance.alternatives` says."""
    replicas: Sequence[Replica]

    def shared_with(self, want: Want, replica: Replica) -> Machine:
        """With a replica more, which the alternatives must suit too."""
        suits = {(pool.instance_type, pool.zone) for pool in want.fits}
        left = [
            each for each in self.alternatives if (each["instance_type"], each["zone"]) in suits
        ]
        return replace(self, alternatives=left, replicas=[*self.replicas, replica])


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
    """By deployment id, why some of its replicas go on waiting."""

    def why_not(self, deployment_id: str) -> str:
        """Why some of its replicas go on waiting, in a sentence; empty where none do."""
        reason = self.impossible.get(deployment_id, "")
        reached = ", ".join(
            f"{quota.region} {quota.family} {quota.market}: {vcpus} virtual CPUs"
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
    new, onto = _assigned(rows, problem, plan, waiting)
    pool_of = {each.id: pool_of_instance(each) for each in rows.instances if each.id in onto}
    return PlacementPlan(problem, plan, new, onto, pool_of, impossible)


def _possible(rows: PlacementRows, market: Problem) -> tuple[dict[str, int], dict[str, str]]:
    """Of each deployment, how many that wait could be placed if it were alone."""
    waiting: dict[str, int] = {}
    impossible: dict[str, str] = {}
    for placed in rows.placed:
        id, count = placed.deployment.id, len(placed.waiting)
        while count:
            reason = _why_not(problem_of(replace(rows, placed=[placed]), market, {id: count}))
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
        id = placed.deployment.id
        for count in range(waiting[id], 0, -1):
            reason = _why_not(problem_of(rows, market, granted | {id: count}))
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
        greedy(problem)
    except Impossible as error:
        return str(error)
    return ""


def _assigned(
    rows: PlacementRows, problem: Problem, plan: Plan, waiting: Mapping[str, int]
) -> tuple[list[Machine], dict[str, list[Replica]]]:
    free = _free_slots(rows, problem)
    new: dict[Pool, list[Machine]] = {}
    onto: dict[str, list[Replica]] = {}
    wants = {want.deployment: want for want in problem.wants}
    for placed in rows.placed:
        want = wants[placed.deployment.id]
        for replica, pool in zip(
            list(placed.waiting)[: waiting[want.deployment]], _missing(plan, want), strict=False
        ):
            spare = next((each for each in free.get(pool, ()) if free[pool][each]), None)
            if spare is not None:
                free[pool][spare] -= 1
                onto.setdefault(spare, []).append(replica)
                continue
            begun = new.setdefault(pool, [])
            if begun and len(begun[-1].replicas) < problem.offers[pool].devices:
                begun[-1] = begun[-1].shared_with(want, replica)
            else:
                begun.append(_machine(problem, plan, want, pool, replica))
    return [machine for each in new.values() for machine in each], onto


def _missing(plan: Plan, want: Want) -> list[Pool]:
    """Where the plan has more replicas than run, the cheapest first."""
    planned = Counter(plan.replicas.get(want.deployment, {}))
    return sorted((planned - Counter(want.running)).elements())


def _free_slots(rows: PlacementRows, problem: Problem) -> dict[Pool, dict[str, int]]:
    free: dict[Pool, dict[str, int]] = {}
    for each in rows.instances:
        offer = problem.offers.get(pool_of_instance(each))
        if offer is not None and each.id not in rows.emptied:
            left = _slots(each, offer.devices) - rows.slots_taken.get(each.id, 0)
            free.setdefault(offer.pool, {})[each.id] = max(0, left)
    return free


def _slots(instance: Instance, sold: int) -> int:
    """As it said when it joined; until then, as it was sold."""
    said = instance.capabilities.get("devices") if instance.capabilities else None
    return len(said) if said else sold


def _machine(problem: Problem, plan: Plan, want: Want, pool: Pool, replica: Replica) -> Machine:
    return Machine(
        pool,
        problem.offers[pool].usd_per_hour,
        _alternatives(problem, plan, want, pool),
        [replica],
    )


def _alternatives(
    problem: Problem, plan: Plan, want: Want, pool: Pool
) -> list[Mapping[str, str | float]]:
    """Near-equals of its market: none that another replica of the deployment is in, so that what is
    spread stays spread."""
    others = plan.replicas.get(want.deployment, {})
    limit = unit_usd(problem, want.fits[pool])
    limit *= _NEAR if want.max_usd_per_hour == float("inf") else 1.0
    near = [
        (unit_usd(problem, fit), other)
        for other, fit in want.fits.items()
        if other.market == pool.market
        and other not in others
        and problem.offers[other].devices == problem.offers[pool].devices
        and problem.obtainable.get(other, 1) > 0
        and unit_usd(problem, fit) <= limit
    ]
    return [
        {
            "instance_type": other.instance_type,
            "zone": other.zone,
            "usd_per_hour": problem.offers[other].usd_per_hour,
        }
        for _, other in sorted(near)[:_MOST_ALTERNATIVES]
    ]
