"""From a plan to machines: which waiting replica goes onto which, what is launched for it, and what
that launch may take instead (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from control_plane.controller.placement_problem import pool_of_instance
from control_plane.controller.placement_rows import PlacementRows
from control_plane.placement.candidates import unit_usd
from control_plane.placement.offer import Offer, Pool, Quota
from control_plane.placement.plan import Plan
from control_plane.placement.problem import Problem, Want
from control_plane.store.tables import Instance, Replica

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


@dataclass(slots=True)
class Assignment:
    """Filled one waiting replica after the other."""

    problem: Problem
    plan: Plan
    free: dict[Pool, dict[str, int]]
    """Slots, by id of an instance."""
    room: dict[Quota, int]
    """Virtual CPUs that each quota leaves beside the machines that are there."""
    new: dict[Pool, list[Machine]] = field(default_factory=dict)
    onto: dict[str, list[Replica]] = field(default_factory=dict)
    """By id of an instance that is there and has slots free."""
    held_back: dict[str, str] = field(default_factory=dict)
    """By `Placed.id`: why a replica that the plan has a place for waits all the same."""

    @property
    def machines(self) -> list[Machine]:
        return [machine for each in self.new.values() for machine in each]

    def put(self, want: Want, pool: Pool, replica: Replica) -> bool:
        """Whether there was a slot, or a machine to launch within the quota."""
        offer, begun = self.problem.offers[pool], self.new.setdefault(pool, [])
        spare = next((id for id, slots in self.free.get(pool, {}).items() if slots), None)
        if spare is not None:
            self.free[pool][spare] -= 1
            self.onto.setdefault(spare, []).append(replica)
        elif begun and len(begun[-1].replicas) < offer.devices:
            begun[-1] = begun[-1].shared_with(want, replica)
        elif self.room.get(offer.quota, offer.vcpus) >= offer.vcpus:
            if offer.quota in self.room:
                self.room[offer.quota] -= offer.vcpus
            begun.append(_machine(self.problem, self.plan, want, pool, replica))
        else:
            return False
        return True


def assign(
    rows: PlacementRows, problem: Problem, plan: Plan, waiting: Mapping[str, int]
) -> Assignment:
    """Puts so many waiting replicas of each deployment where the plan has more than run.

    The plan may also do without machines that run, and they are given back only after they are
    replaced: what it buys in their stead waits while they use the quota up.
    """
    made = Assignment(problem, plan, _free_slots(rows, problem), _room(rows, problem))
    wants = {want.deployment: want for want in problem.wants}
    for placed in rows.placed:
        want = wants[placed.id]
        left = list(placed.waiting)[: waiting[want.deployment]]
        full: list[Pool] = []
        for pool in _missing(plan, want):
            if not left:
                break
            if made.put(want, pool, left[0]):
                del left[0]
            else:
                full.append(pool)
        if left and full:
            made.held_back[want.deployment] = _why_held_back(problem.offers[full[0]])
    return made


def _room(rows: PlacementRows, problem: Problem) -> dict[Quota, int]:
    room = dict(problem.quotas)
    for each in rows.instances:
        offer = problem.offers.get(pool_of_instance(each))
        if offer is not None and offer.quota in room:
            room[offer.quota] -= offer.vcpus
    return room


def _why_held_back(offer: Offer) -> str:
    return (
        f"{offer.pool.instance_type} in {offer.pool.zone} waits until machines that run are given "
        "back"
    )


def _missing(plan: Plan, want: Want) -> list[Pool]:
    """Where the plan has more replicas than run, the cheapest first."""
    planned = Counter(plan.replicas.get(want.deployment, {}))
    return sorted((planned - Counter(want.running)).elements())


def _free_slots(rows: PlacementRows, problem: Problem) -> dict[Pool, dict[str, int]]:
    """None on those that are to be emptied, nor on those that wait for one deployment alone."""
    free: dict[Pool, dict[str, int]] = {}
    for each in rows.instances:
        offer = problem.offers.get(pool_of_instance(each))
        given = each.id in rows.emptied or each.kept_for is not None
        if offer is not None and not given:
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
