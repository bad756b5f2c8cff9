"""Writes what machines cost.

Charges follow from times in rows, so it does not matter when, how often or by whom they are
computed: a controller that was away for hours writes them all, a second one writes the same again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.hold import LeaseLost, hold
from control_plane.controller.limits import Limits
from control_plane.controller.world import World
from control_plane.ledger.billing import HOUR_S, LEAST_S, Price
from control_plane.ledger.charge import NOBODY, Charge, Machine, Stay, charges
from control_plane.store.clock import read_clock
from control_plane.store.repositories import charges as rows
from control_plane.store.repositories import duties, prices
from control_plane.store.repositories.machines import slots
from control_plane.store.session import Database
from control_plane.store.tables import Duty, Instance, Replica
from infra.telemetry import logger

_log = logger(__name__)
_AT_ONCE = 100
"""Machines in a transaction: the passes go on in between."""
_HOURS_AT_ONCE = 2000
"""Of all of them together."""


@dataclass(frozen=True, slots=True)
class _Batch:
    now: float
    """Database time."""
    machines: Sequence[Instance]
    begins: Mapping[str, float]
    """The hour of each from which on its charges may have changed."""
    replicas: Sequence[Replica]
    prices: Mapping[str, Sequence[Price]]


class ChargeBook:
    name = "charges"

    def __init__(self, database: Database, limits: Limits, extra_usd_per_hour: float) -> None:
        """`extra_usd_per_hour`: what the disk and the address of a launched machine cost."""
        self._database = database
        self._limits = limits
        self._extra = extra_usd_per_hour

    async def run(self, _world: World | None, /) -> int:
        """Returns how many machines were metered."""
        async with self._database.transaction() as session:
            await duties.ensure(session, duties.LEDGER)
        metered, last = 0, ""
        while True:
            found = await self._next(last)
            if not found:
                return metered
            metered, last = metered + len(found), found[-1]

    async def _next(self, last: str) -> Sequence[str]:
        """The ids of the machines after this one that it has metered; none where all are, or
        somebody else is at it."""
        async with hold(self._database, Duty, duties.LEDGER, self._limits.lease_s) as held:
            if held is None:
                return ()
            async with self._database.snapshot() as session:
                batch = await _read(session, last)
            if not batch.machines:
                return ()
            computed = self._compute(batch)
            ended = [each.id for each in batch.machines if each.ended_at is not None]
            try:
                async with held.apply() as session:
                    await rows.write(session, [each for own in computed.values() for each in own])
                    await rows.close(session, [each for each in ended if each in computed])
            except LeaseLost:
                return ()
            return [each.id for each in batch.machines]

    def _compute(self, batch: _Batch) -> dict[str, list[Charge]]:
        """By machine; one that has impossible times or prices is missing."""
        stays: defaultdict[str, list[Stay]] = defaultdict(list)
        for each in batch.replicas:
            begin = each.created_at if each.placed_at is None else each.placed_at
            stay = Stay(each.deployment_id, begin, each.ended_at)
            stays[each.instance_id or ""].append(stay)
        computed: dict[str, list[Charge]] = {}
        for instance in batch.machines:
            machine = self._machine(instance, batch.prices.get(prices.pool_of(instance), ()))
            own, begin = stays[instance.id], batch.begins[instance.id]
            try:
                computed[instance.id] = list(charges(machine, own, begin, batch.now))
            except (ValueError, OverflowError) as error:
                _log.error("a machine cannot be metered", instance_id=instance.id, error=str(error))
        return computed

    def _machine(self, instance: Instance, moved: Sequence[Price]) -> Machine:
        launched_at = instance.launched_at or 0.0
        first = Price(instance.created_at, instance.usd_per_hour)
        return Machine(
            instance_id=instance.id,
            launched_at=launched_at,
            ended_at=instance.ended_at,
            slots=max(1, slots(instance)),
            prices=[first, *(each for each in moved if each.since > instance.created_at)],
            extra_usd_per_hour=self._extra if instance.usd_per_hour else 0.0,
            kept_for=instance.kept_for or NOBODY,
        )


async def _read(session: AsyncSession, last: str) -> _Batch:
    now = await read_clock(session)
    machines = await rows.unmetered(session, last, _AT_ONCE)
    ids = [each.id for each in machines]
    newest = await rows.newest_hours(session, ids)
    begins = {each.id: _begin(each, newest.get(each.id), now) for each in machines}
    machines = _at_once(machines, begins, now)
    ids = [each.id for each in machines]
    begin = min((begins[id] for id in ids), default=now)
    stayed = await rows.replicas_since(session, ids, begin - HOUR_S)
    left = set(ids) - {each.instance_id for each in stayed}
    pools = {prices.pool_of(each) for each in machines}
    return _Batch(
        now,
        machines,
        begins,
        [*stayed, *await rows.last_on(session, sorted(left))],
        await prices.since(session, pools, begin - HOUR_S),
    )


def _at_once(
    machines: Sequence[Instance], begins: Mapping[str, float], now: float
) -> Sequence[Instance]:
    """The first of them, at least one, whose hours are not too many for a transaction: nobody may
    have been here for weeks."""
    hours = 0.0
    for number, each in enumerate(machines):
        hours += (now - begins[each.id]) / HOUR_S + 1
        if hours > _HOURS_AT_ONCE and number:
            return machines[:number]
    return machines


def _begin(instance: Instance, newest: int | None, now: float) -> float:
    """The hour that was written last may not have been over; nor may the one before, where the
    first minute reaches beyond it; nor the present one, where the clock was set back."""
    launched_at = instance.launched_at or now
    if newest is None or newest < launched_at + LEAST_S:
        return launched_at // HOUR_S * HOUR_S
    return min(newest, now // HOUR_S * HOUR_S)
