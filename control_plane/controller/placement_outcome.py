"""Writes what a placement plan says: instances, who is on them, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.consolidation import Move
from control_plane.controller.placement_fits import Load
from control_plane.controller.placement_machines import Machine
from control_plane.controller.placement_plan import PlacementPlan
from control_plane.controller.placement_rows import Placed
from control_plane.controller.placement_spec import placement_policy
from control_plane.placement.offer import Pool
from control_plane.placement.plan import share_usd
from control_plane.placement.problem import Want
from control_plane.store.repositories import decisions, deployments, instances, replicas, starts
from control_plane.store.tables import Replica
from infra.states import ReplicaState

FORMULA = (
    "least dollars per hour of machines, their expected losses and of starts, such that every "
    "replica has a slot, half of them stay when one spot pool is lost, and quotas and limits hold"
)
_MOVES = "saved in an hour > what the starts elsewhere cost + 2 % of all costs"
_SPARES = "spot replicas x losses an hour of their pools x time to replace one, rounded"
_TOLD = 8
_CLEARLY = 0.9
"""Times the price, or less."""


async def carry_out(session: AsyncSession, cloud: str, made: PlacementPlan) -> set[str]:
    """Instances for whom waits for one; returns the ids of the replicas that still did.

    Rows are locked in the order that all transactions keep: replicas, then instances.
    """
    wanted = dict(made.onto)
    for machine in made.new:
        wanted[await _add(session, cloud, machine)] = machine.replicas
    pairs = sorted((replica.id, at) for at, group in wanted.items() for replica in group)
    moved = {id: at for id, at in pairs if await replicas.place(session, id, at)}
    for replica_id, at in moved.items():
        if at in made.onto:
            await starts.launched(session, replica_id)
    for at in sorted(set(moved.values())):
        await instances.change_assignment(session, at)
    return set(moved)


async def _add(session: AsyncSession, cloud: str, machine: Machine) -> str:
    pool = machine.pool
    added = await instances.add(
        session,
        cloud,
        pool.instance_type,
        pool.zone,
        pool.market,
        machine.usd_per_hour,
        machine.alternatives,
    )
    return added.id


async def explain(session: AsyncSession, placed: Placed, made: PlacementPlan) -> None:
    """Store why its replicas go where they go, or why some go nowhere."""
    id = placed.id
    want = next(each for each in made.problem.wants if each.deployment == id)
    where = _where(placed, made)
    reason = "impossible" if id in made.impossible else _reason(placed, made, want, where)
    outcome: dict[str, Any] = {
        "chosen": [_said(made, pool, count) for pool, count in sorted(where.items())],
        "usd_per_hour": _usd_per_hour(made, want),
        "solver": made.plan.solver,
    }
    per_token = _usd_per_million_tokens(placed, made, want)
    if per_token is not None:
        outcome["usd_per_million_tokens"] = per_token
        outcome["cheaper_when_busy"] = _cheaper_when_busy(placed, made, want, per_token)
    if id in made.impossible:
        outcome["waiting"] = len(placed.waiting) - where.total()
        outcome["because"] = made.why_not(id)
    outcome["rejected"] = [
        f"{_name(pool)}: {why}"
        for pool, why in list(made.plan.rejected.get(id, {}).items())[:_TOLD]
    ]
    inputs = _inputs(placed, made, want)
    await decisions.add(
        session, placed.deployment.id, decisions.PLACE, reason, FORMULA, inputs, outcome
    )


async def retire(session: AsyncSession, move: Move) -> int:
    """Have a machine's replicas replaced; returns how many rows changed."""
    said = f"{move.reason}: saves ${move.saved_usd_per_hour:.4f}/h"
    moved = sum([await replicas.retire(session, each.id, said) for each in move.replicas])
    inputs = {
        "off": _name(move.off),
        "replicas": len(move.replicas),
        "saved_usd_per_hour": round(move.saved_usd_per_hour, 6),
        "start_usd": round(move.start_usd, 6),
    }
    outcome = {
        "replaced_on": [f"{count} x {_name(pool)}" for pool, count in sorted(move.to.items())],
        "given_back": move.instance_id,
    }
    for placed in move.deployments if moved else ():
        await decisions.add(
            session, placed.deployment.id, decisions.PLACE, move.reason, _MOVES, inputs, outcome
        )
    return moved


async def insure(session: AsyncSession, spares: Mapping[str, int], expected: str) -> int:
    """So many replicas beside each target, by deployment id; returns how many rows changed.

    Args:
        expected: how many are replaced within which time, for the explanation.
    """
    changed = 0
    for id, count in sorted(spares.items()):
        if await deployments.spare(session, id, count):
            outcome = {"spare_replicas": count}
            inputs = {"replaced_within": expected}
            await decisions.add(session, id, decisions.PLACE, "risk", _SPARES, inputs, outcome)
            changed += 1
    return changed


async def tell(session: AsyncSession, waiting: Sequence[Replica], reason: str) -> int:
    """Say on rows that still wait why they do; returns how many said otherwise before."""
    told = 0
    for replica in waiting:
        if replica.reason != reason:
            seen = ReplicaState(replica.state)
            told += await replicas.move(session, replica.id, seen, seen, reason)
    return told


def _inputs(placed: Placed, made: PlacementPlan, want: Want) -> dict[str, Any]:
    policy = placement_policy(placed.deployment.spec)
    inputs: dict[str, Any] = {
        "waiting": len(placed.waiting),
        "running": [f"{count} x {_name(pool)}" for pool, count in sorted(want.running.items())],
        "offers": len(made.problem.offers),
        "offers_age_s": round(made.offers_age_s, 1),
        "fit": len(want.fits),
        "closed": sum(made.problem.obtainable.get(pool, 1) == 0 for pool in want.fits),
        "spot": policy.spot,
    }
    if policy.limits_price:
        inputs["max_usd_per_hour"] = policy.max_usd_per_hour
    if made.problem.quotas:
        inputs["quotas"] = {
            f"{quota.region} {quota.family} {quota.market}": vcpus
            for quota, vcpus in made.problem.quotas.items()
        }
    return inputs


def _where(placed: Placed, made: PlacementPlan) -> Counter[Pool]:
    own = {each.id for each in placed.waiting}
    return Counter(
        machine.pool for machine in made.new for each in machine.replicas if each.id in own
    ) + Counter(
        made.pool_of[instance_id]
        for instance_id, group in made.onto.items()
        for each in group
        if each.id in own
    )


def _reason(placed: Placed, made: PlacementPlan, want: Want, where: Mapping[Pool, int]) -> str:
    policy = placement_policy(placed.deployment.spec)
    dear = any(pool.market == "on-demand" for pool in where)
    closed = any(
        pool.market == "spot" and made.problem.obtainable.get(pool, 1) == 0 for pool in want.fits
    )
    if policy.spot == "prefer" and dear and closed:
        return "spot_gap"
    return "spread" if len(where) > 1 else "cheapest"


def _usd_per_hour(made: PlacementPlan, want: Want) -> float:
    planned = made.plan.replicas.get(want.deployment, {})
    usd = sum(share_usd(made.problem, want.fits[pool]) * n for pool, n in planned.items())
    return round(usd, 6)


def _usd_per_million_tokens(placed: Placed, made: PlacementPlan, want: Want) -> float | None:
    """Of usual requests, when they are as many as its replicas serve within the SLO; None where
    nobody knows how fast one is."""
    load, served = Load.of(placed), 0.0
    for pool, count in made.plan.replicas.get(want.deployment, {}).items():
        each = load.tokens_per_s(made.problem.offers[pool].accelerator)
        if each is None:
            return None
        served += count * each
    return _per_million(_usd_per_hour(made, want), served) if served else None


def _cheaper_when_busy(placed: Placed, made: PlacementPlan, want: Want, usd: float) -> list[str]:
    """Offers, at most one of each accelerator, whose tokens cost clearly less than this: dearer
    machines, that serve more requests at once than wait now."""
    load, offers = Load.of(placed), made.problem.offers
    cheapest: dict[str, tuple[float, Pool]] = {}
    for pool, fit in want.fits.items():
        found = (share_usd(made.problem, fit), pool)
        kind = offers[pool].accelerator
        cheapest[kind] = min(cheapest.get(kind, found), found)
    said = []
    for kind, (share, pool) in cheapest.items():
        served = load.tokens_per_s(kind)
        if served and (each := _per_million(share, served)) < _CLEARLY * usd:
            said.append((each, f"{_name(pool)} ({kind}): ${each:.4g} a million tokens"))
    return [each for _, each in sorted(said)]


def _per_million(usd_per_hour: float, tokens_per_s: float) -> float:
    return round(usd_per_hour / (tokens_per_s * 3600) * 1e6, 4)


def _said(made: PlacementPlan, pool: Pool, count: int) -> str:
    return f"{count} x {_name(pool)} at ${made.problem.offers[pool].usd_per_hour:.4f}/h"


def _name(pool: Pool) -> str:
    return f"{pool.instance_type} {pool.zone} {pool.market}"
