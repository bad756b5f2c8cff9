"""Writes what machines cost.

Charges follow from times in rows, so it does not matter when, how often or by whom they are
computed: a controller that was away for hours writes them all, a second one writes the same again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.hold import LeaseLost, hold
from control_plane.controller.limits import Limits
from control_plane.controller.world import World
from control_plane.ledger.billing import HOUR_S, Price
from control_plane.ledger.charge import NOBODY, Charge, Machine, Stay, charges
from control_plane.store.clock import read_clock
from control_plane.store.repositories import charges as rows
from control_plane.store.repositories import duties, prices
from control_plane.store.repositories.machines import slots
from control_plane.store.session import Database
from control_plane.store.tables import Duty, Instance, Replica

_AT_ONCE = 100
"""Machines in a transaction: the passes go on in between."""


@dataclass(frozen=True, slots=True)
class _Batch:
    now: float
    """Database time."""
    machines: Sequence[Instance]
    newest_hours: Mapping[str, int]
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
            computed = list(self._compute(batch))
            try:
                async with held.apply() as session:
                    await rows.write(session, computed)
                    await rows.close(
                        session, [each.id for each in batch.machines if each.ended_at is not None]
                    )
            except LeaseLost:
                return ()
            return [each.id for each in batch.machines]

    def _compute(self, batch: _Batch) -> Iterator[Charge]:
        stays: defaultdict[str, list[Stay]] = defaultdict(list)
        for each in batch.replicas:
            begin = each.created_at if each.placed_at is None else each.placed_at
            stay = Stay(each.deployment_id, begin, each.ended_at)
            stays[each.instance_id or ""].append(stay)
        for instance in batch.machines:
            machine = self._machine(instance, batch.prices.get(prices.pool_of(instance), ()))
            # The last hour that was written may not have been over.
            begin = batch.newest_hours.get(instance.id, 0)
            yield from charges(machine, stays[instance.id], begin, batch.now)

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
    begin = min((newest.get(each.id, each.launched_at or now) for each in machines), default=now)
    pools = {prices.pool_of(each) for each in machines}
    return _Batch(
        now,
        machines,
        newest,
        await rows.replicas_since(session, ids, begin - HOUR_S),
        await prices.since(session, pools, begin - HOUR_S),
    )
