"""What the store says of everything that has not ended, read once and shared by a pass.

Rows that nobody has written since the pass before are not read again: of those only the version is
asked, where the database tells it (`row_version`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import read_clock
from control_plane.store.repositories import deployments, instances, replicas
from control_plane.store.repositories.listings import Deployed
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Replica

Row = TypeVar("Row", Replica, Instance)
Read = TypeVar("Read", Replica, Instance, Deployed)
_MANY = 500
"""Rows that changed: then all are read, which is one statement without thousands of ids."""


@dataclass(frozen=True, slots=True)
class Live:
    """Rows as they were read; whoever writes one holds it first, and reads it again."""

    now: float
    """Database time."""
    deployments: Sequence[Deployed]
    """By name."""
    replicas: Mapping[str, Replica]
    """By id, oldest first."""
    instances: Mapping[str, Instance]
    """By id, oldest first."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """By id, of those rows that were read with theirs."""


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

    def among(self, known: Mapping[str, Replica]) -> set[str]:
        """Ids of the replicas that may have changed."""
        if not self.deployments:
            return self.replicas & known.keys()
        return {
            id
            for id, each in known.items()
            if each.deployment_id in self.deployments or id in self.replicas
        }


class LiveRows:
    """One reading serves a pass, with the same few statements however many rows there are. Rows
    that a noun says it has touched are read again for the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._live: Live | None = None
        self._old = False
        self._read_since = 0
        self.touched = Touched()

    async def read(self) -> Live:
        """Raises SQLAlchemyError: the store does not answer."""
        if self._live is None or self._old or self.touched:
            async with self._database.snapshot() as session:
                if self._live is None or self._old:
                    self._live = await _read(session, self._live)
                else:
                    self._live = await _read_again(session, self._live, self.touched)
            self._old = False
            self._read_since += len(self.touched)
            self.touched = Touched()
        return self._live

    @property
    def told(self) -> int:
        """How many rows nouns have said to have touched, ever."""
        return self._read_since + len(self.touched)

    def forget(self) -> None:
        """Nothing of what was read may be so any more."""
        self._old = True


async def _read(session: AsyncSession, before: Live | None) -> Live:
    now = await read_clock(session)
    before = before or Live(now, (), {}, {})
    deployed = await _present(
        {each.deployment.id: each for each in before.deployments},
        before.versions,
        (of_deployments := await deployments.versions(session)),
        lambda ids: deployments.live_among(session, ids) if ids else deployments.all_live(session),
    )
    running = await _present(
        before.replicas,
        before.versions,
        (of_replicas := await replicas.versions(session)),
        lambda ids: replicas.live_among(session, (), ids) if ids else replicas.live(session),
    )
    machines = await _present(
        before.instances,
        before.versions,
        (of_instances := await instances.versions(session)),
        lambda ids: instances.live_among(session, ids) if ids else instances.live(session),
    )
    versions = {**of_deployments, **of_replicas, **of_instances}
    return Live(
        now=now,
        deployments=list(deployed.values()),
        replicas=running,
        instances=machines,
        versions={id: version for id, version in versions.items() if version is not None},
    )


async def _present(
    known: Mapping[str, Read],
    seen: Mapping[str, str],
    versions: Mapping[str, str | None],
    read: Callable[[Collection[str]], Awaitable[Sequence[Read]]],
) -> dict[str, Read]:
    """Rows by id, in the order of `versions`.

    Args:
        read: those of these ids, or all where none is said.
    """
    changed = [id for id, now in versions.items() if now is None or seen.get(id) != now]
    if not changed:
        return {id: known[id] for id in versions}
    few = len(changed) < min(_MANY, len(versions))
    new = {_id(each): each for each in await read(changed if few else ())}
    return {id: new[id] if id in new else known[id] for id in versions}


def _id(row: Replica | Instance | Deployed) -> str:
    return row.deployment.id if isinstance(row, Deployed) else row.id


async def _read_again(session: AsyncSession, before: Live, touched: Touched) -> Live:
    now = await read_clock(session)
    old = touched.among(before.replicas)
    new = await replicas.live_among(session, touched.deployments, touched.replicas)
    moved = (*(before.replicas[id] for id in old), *new)
    ids = touched.instances | {each.instance_id for each in moved if each.instance_id is not None}
    if touched.deployments:
        machines = before.instances.items()
        ids |= {id for id, each in machines if each.kept_for in touched.deployments}
    found = await instances.live_among(session, ids)
    unknown = {*ids, *touched.deployments, *old, *(each.id for each in new)}
    return Live(
        now=now,
        deployments=await _deployments_again(session, before.deployments, touched.deployments),
        replicas=_with(before.replicas, old, new),
        instances=_with(before.instances, ids, found),
        versions={id: each for id, each in before.versions.items() if id not in unknown},
    )


async def _deployments_again(
    session: AsyncSession, before: Sequence[Deployed], ids: Collection[str]
) -> Sequence[Deployed]:
    if not ids:
        return before
    others = [each for each in before if each.deployment.id not in ids]
    found = [*others, *await deployments.live_among(session, ids)]
    return sorted(found, key=lambda each: each.deployment.name)


def _with(before: Mapping[str, Row], old: Collection[str], new: Iterable[Row]) -> dict[str, Row]:
    """Ids are in the order of age."""
    found = {id: each for id, each in before.items() if id not in old}
    found |= {each.id: each for each in new}
    return {id: found[id] for id in sorted(found)}
