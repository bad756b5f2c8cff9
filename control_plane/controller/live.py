"""What the store says of everything that has not ended, read once and shared by a pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import read_clock
from control_plane.store.repositories import deployments, instances, replicas
from control_plane.store.repositories.listings import Deployed
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Replica

Row = TypeVar("Row", Replica, Instance)


@dataclass(frozen=True, slots=True)
class Live:
    """Rows as they were read; whoever writes one holds it first, and reads it again."""

    now: float
    """Database time."""
    deployments: Sequence[Deployed]
    """By name."""
    replicas: Sequence[Replica]
    """Oldest first."""
    instances: Mapping[str, Instance]
    """By id, oldest first."""


@dataclass(frozen=True, slots=True)
class Touched:
    """Ids of rows that this process has changed since they were read."""

    deployments: set[str] = field(default_factory=set)
    """And with each perhaps its replicas and their instances."""
    replicas: set[str] = field(default_factory=set)
    """And with each perhaps its instance."""
    instances: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.deployments) + len(self.replicas) + len(self.instances)

    def concerns(self, replica: Replica) -> bool:
        return replica.id in self.replicas or replica.deployment_id in self.deployments


class LiveRows:
    """One reading serves a pass, with the same few statements however many rows there are. Rows
    that a noun says it has touched are read again for the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._live: Live | None = None
        self.touched = Touched()

    async def read(self) -> Live:
        """Raises SQLAlchemyError: the store does not answer."""
        if self._live is None or self.touched:
            async with self._database.snapshot() as session:
                self._live = (
                    await _read(session)
                    if self._live is None
                    else await _read_again(session, self._live, self.touched)
                )
            self.touched = Touched()
        return self._live

    def forget(self) -> None:
        """Nothing of what was read may be so any more."""
        self._live, self.touched = None, Touched()


async def _read(session: AsyncSession) -> Live:
    return Live(
        now=await read_clock(session),
        deployments=await deployments.all_live(session),
        replicas=await replicas.live(session),
        instances={each.id: each for each in await instances.live(session)},
    )


async def _read_again(session: AsyncSession, before: Live, touched: Touched) -> Live:
    now = await read_clock(session)
    old = [each for each in before.replicas if touched.concerns(each)]
    new = await replicas.live_among(session, touched.deployments, touched.replicas)
    ids = touched.instances | {
        each.instance_id for each in (*old, *new) if each.instance_id is not None
    }
    ids |= {each.id for each in before.instances.values() if each.kept_for in touched.deployments}
    there = [each for each in before.instances.values() if each.id not in ids]
    found = _by_age([*there, *await instances.live_among(session, ids)])
    staying = [each for each in before.replicas if not touched.concerns(each)]
    return replace(
        await _with_deployments(session, before, touched.deployments),
        now=now,
        replicas=_by_age([*staying, *new]),
        instances={each.id: each for each in found},
    )


async def _with_deployments(session: AsyncSession, before: Live, ids: set[str]) -> Live:
    if not ids:
        return before
    others = [each for each in before.deployments if each.deployment.id not in ids]
    found = [*others, *await deployments.live_among(session, ids)]
    return replace(before, deployments=sorted(found, key=lambda each: each.deployment.name))


def _by_age(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=attrgetter("id"))
