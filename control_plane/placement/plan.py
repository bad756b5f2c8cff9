"""What placement answers: instances to have, replicas on them, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.placement.offer import Pool
from control_plane.placement.problem import Fit, Problem, Want

_RELATIVE_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Plan:
    instances: Mapping[Pool, int]
    replicas: Mapping[str, Mapping[Pool, int]]
    """By deployment."""
    usd_per_hour: float
    """With the expected cost of losses, without that of starts."""
    bound_usd_per_hour: float | None = None
    """No plan is cheaper than this, starts included; None where nobody knows."""
    solver: str = ""
    rejected: Mapping[str, Mapping[Pool, str]] = field(default_factory=dict)
    """By deployment: offers that were looked at, and why they were not taken."""


def cost(problem: Problem, instances: Mapping[Pool, int]) -> float:
    """Dollars per hour, risk included."""
    return sum(count * problem.usd_per_hour(pool) for pool, count in instances.items())


def plan_of(
    problem: Problem,
    replicas: Mapping[str, Mapping[Pool, int]],
    bound_usd_per_hour: float | None,
    solver: str,
) -> Plan:
    """With as many machines as these replicas take."""
    used: dict[Pool, int] = {}
    for want in problem.wants:
        for pool, count in replicas.get(want.deployment, {}).items():
            used[pool] = used.get(pool, 0) + count * want.fits[pool].devices
    instances = {
        pool: -(-slots // problem.offers[pool].devices) for pool, slots in sorted(used.items())
    }
    return Plan(instances, replicas, cost(problem, instances), bound_usd_per_hour, solver)


def start_cost(problem: Problem, replicas: Mapping[str, Mapping[Pool, int]]) -> float:
    """Dollars for every replica that is where none of its deployment was."""
    return sum(
        want.start_usd * max(0, count - want.running.get(pool, 0))
        for want in problem.wants
        for pool, count in replicas.get(want.deployment, {}).items()
    )


def whole_cost(problem: Problem, plan: Plan) -> float:
    """Dollars per hour, and of its starts."""
    return plan.usd_per_hour + start_cost(problem, plan.replicas)


def worth(problem: Problem, plan: Plan) -> tuple[bool, float]:
    """Less is better: what keeps every limit goes before what does not, whatever it costs."""
    return bool(violations(problem, plan)), whole_cost(problem, plan)


def violations(problem: Problem, plan: Plan) -> list[str]:
    """What a plan breaks; empty for one that may be carried out."""
    found = []
    used: dict[Pool, int] = {}
    for want in problem.wants:
        placed = plan.replicas.get(want.deployment, {})
        found += _shortages(problem, want, placed)
        for pool, count in placed.items():
            used[pool] = used.get(pool, 0) + count * want.fits[pool].devices
    for pool, devices_used in used.items():
        there = plan.instances.get(pool, 0) * problem.offers[pool].devices
        if devices_used > there:
            found.append(f"{pool}: {devices_used} slots used of {there}")
    for pool, limit in problem.obtainable.items():
        if plan.instances.get(pool, 0) > limit:
            found.append(f"{pool}: {plan.instances[pool]} instances of {limit} obtainable")
    for quota, limit in problem.quotas.items():
        vcpus = sum(
            count * problem.offers[pool].vcpus
            for pool, count in plan.instances.items()
            if problem.offers[pool].quota == quota
        )
        if vcpus > limit:
            found.append(f"{quota}: {vcpus} virtual CPUs of {limit}")
    return found


def _shortages(problem: Problem, want: Want, placed: Mapping[Pool, int]) -> list[str]:
    whole = sum(want.fits[pool].capacity * count for pool, count in placed.items())
    found = []
    if whole < want.demand * (1 - _RELATIVE_SLACK):
        found.append(f"{want.deployment}: {whole:g} of {want.demand:g} served")
    for lost in placed:
        left = whole - want.fits[lost].capacity * placed[lost]
        needed = want.demand * want.kept_share * (1 - _RELATIVE_SLACK)
        if lost.market == "spot" and left < needed:
            found.append(f"{want.deployment}: {left:g} left after the loss of {lost}")
    if sum(placed.values()) > want.max_replicas:
        found.append(f"{want.deployment}: more than {want.max_replicas} replicas")
    usd = sum(share_usd(problem, want.fits[pool]) * count for pool, count in placed.items())
    if usd > want.max_usd_per_hour * (1 + _RELATIVE_SLACK):
        found.append(f"{want.deployment}: ${usd:.2f}/h of ${want.max_usd_per_hour:.2f}")
    return found


def share_usd(problem: Problem, fit: Fit) -> float:
    """Dollars per hour of the slots of one replica."""
    return problem.slot_usd[fit.pool] * fit.devices
