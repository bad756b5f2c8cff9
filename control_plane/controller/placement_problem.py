"""From rows and offers to the placement programme (pure).

A deployment's demand is the number of its replicas, as the autoscaler says; those that run are
where they are, and moving one costs a start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from control_plane.controller.placement_fits import Load
from control_plane.controller.placement_rows import Placed, PlacementRows
from control_plane.controller.placement_spec import placement_policy
from control_plane.controller.pool_lessons import availability
from control_plane.placement.availability import Availability, decayed_hours
from control_plane.placement.moderation import immoderate
from control_plane.placement.offer import Market, Offer, Pool, Quota
from control_plane.placement.problem import Fit, Problem, Want
from control_plane.store.tables import Instance
from infra.cloud.base import CloudOffer

_START_S = 240.0
"""Machine time that a move costs: two machines run while the new one starts."""
_DISTURBANCE_USD = 0.02
"""What a move costs besides: caches that are cold, sequences that change their place."""
_LEAST_SHARE = 0.55
_SCORES = 10
"""The best that a provider gives; the worst halves what is expected of a launch."""


def problem_of(
    rows: PlacementRows, market: Problem, waiting: Mapping[str, int], *, moves: bool = False
) -> Problem:
    """The programme over all deployments.

    Args:
        market: as `market_of` makes it; what it wants is not looked at.
        waiting: by `Placed.id`, how many of those that wait are placed.
        moves: whether what runs may be planned elsewhere.
    """
    wants = [
        _want(
            each,
            market,
            waiting[each.id],
            sum(_running_usd(other, market) for other in rows.placed if other.shares_with(each)),
            moves=moves,
        )
        for each in rows.placed
    ]
    return replace(market, wants=wants, moves=moves)


def market_of(rows: PlacementRows, told: Sequence[CloudOffer]) -> Problem:
    """What may be had, by price, past and quota, and nobody who wants it."""
    offers = offers_of(rows, told)
    have = Counter(pool_of_instance(each) for each in rows.instances)
    obtainable = {
        pool: have[pool]
        for pool, known in _known(rows).items()
        if known.closed_until_s > rows.now and pool in offers
    }
    used = _vcpus(have, offers)
    leaving = _vcpus(Counter(pool_of_instance(each) for each in rows.leaving), offers)
    # What runs is within the quota, whatever was learned of it; what leaves runs still.
    quotas = {
        (quota := Quota(each.region, each.family, _market(each.market))): max(
            each.vcpus - leaving[quota], used[quota]
        )
        for each in rows.quotas
    }
    return Problem(offers, (), quotas, obtainable)


def _vcpus(machines: Counter[Pool], offers: Mapping[Pool, Offer]) -> Counter[Quota]:
    counted: Counter[Quota] = Counter()
    for pool, count in machines.items():
        if pool in offers:
            counted[offers[pool].quota] += count * offers[pool].vcpus
    return counted


def offers_of(rows: PlacementRows, told: Sequence[CloudOffer]) -> dict[Pool, Offer]:
    """Prices of now, with what pools taught."""
    known, ran = _known(rows), _hours_running(rows)
    offers = {}
    for each in told:
        pool = Pool(each.pool.instance_type, each.pool.zone, _market(each.pool.market))
        past = known.get(pool, Availability()).ran(rows.now, ran.get(pool, 0.0))
        spot = pool.market == "spot"
        offers[pool] = Offer(
            pool=pool,
            region=each.region,
            accelerator=each.accelerator,
            devices=each.devices,
            memory_bytes=each.memory_bytes,
            vcpus=each.vcpus,
            usd_per_hour=each.usd_per_hour,
            launch_share=past.launch_share(rows.now) * _trust(each.score),
            losses_per_hour=past.losses_per_hour(rows.now) if spot else 0.0,
            quota_family=each.quota_family,
        )
    return offers


def _running_usd(placed: Placed, market: Problem) -> float:
    """An hour, its shares of the machines that it runs on."""
    pools = (pool_of_instance(instance) for _, instance in placed.running)
    return sum(market.slot_usd.get(pool, 0.0) for pool in pools)


def _want(placed: Placed, market: Problem, waiting: int, others_usd: float, *, moves: bool) -> Want:
    """`others_usd`: what the deployment's replicas of its other revision cost an hour."""
    offers, obtainable = market.offers, market.obtainable
    policy, load = placement_policy(placed.deployment.spec), Load.of(placed)
    fits: dict[Pool, Fit] = {}
    refused: dict[Pool, str] = {}
    by_device: dict[str, Fit | str] = {}
    for pool, offer in offers.items():
        said = policy.refusal(offer) or by_device.get(offer.accelerator)
        if said is None:
            said = by_device[offer.accelerator] = load.on(offer)
        if isinstance(said, Fit):
            fits[pool] = replace(said, pool=pool)
        else:
            refused[pool] = said
    running = Counter(
        pool for _, instance in placed.running if (pool := pool_of_instance(instance)) in fits
    )
    demand = waiting + running.total()
    if not policy.says_what_to_pay:
        dear = immoderate(offers, fits, demand, running)
        fits = {pool: fit for pool, fit in fits.items() if pool not in dear}
        refused |= dear
    cheapest = min((offers[pool].usd_per_hour / offers[pool].devices for pool in fits), default=0.0)
    return Want(
        deployment=placed.id,
        demand=float(demand),
        fits=fits,
        kept_share=_kept_share(demand, fits, obtainable, 0 if moves else _heaviest(running)),
        max_replicas=demand,
        # What runs and stays is paid for, also when its price has risen.
        max_usd_per_hour=(
            max(0.0, policy.max_usd_per_hour - others_usd) if waiting or moves else float("inf")
        ),
        running=dict(running),
        start_usd=cheapest * _START_S / 3600 + _DISTURBANCE_USD,
        refused=refused,
    )


def _kept_share(
    demand: int, fits: Mapping[Pool, Fit], obtainable: Mapping[Pool, int], heaviest: int
) -> float:
    """Half of the replicas, as far as they can be divided, where there are pools to spread over.

    Args:
        heaviest: how many run, and stay, in one spot pool.
    """
    open_pools = [pool for pool in fits if obtainable.get(pool, 1) > 0]
    if demand < 2 or len(open_pools) < 2:
        return 0.0
    return min(demand // 2, demand - heaviest) / demand


def _heaviest(running: Mapping[Pool, int]) -> int:
    return max((count for pool, count in running.items() if pool.market == "spot"), default=0)


def _known(rows: PlacementRows) -> dict[Pool, Availability]:
    return {
        Pool(each.instance_type, each.zone, _market(each.market)): availability(each)
        for each in rows.pools
    }


def _hours_running(rows: PlacementRows) -> dict[Pool, float]:
    hours: dict[Pool, float] = {}
    for each in rows.instances:
        pool = pool_of_instance(each)
        hours[pool] = hours.get(pool, 0.0) + decayed_hours(rows.now - each.created_at)
    return hours


def pool_of_instance(instance: Instance) -> Pool:
    return Pool(instance.instance_type, instance.zone, _market(instance.market))


def _market(name: str) -> Market:
    return "spot" if name == "spot" else "on-demand"


def _trust(score: int) -> float:
    if not score:
        return 1.0
    return _LEAST_SHARE + (1 - _LEAST_SHARE) * score / _SCORES
