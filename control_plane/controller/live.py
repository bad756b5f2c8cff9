"""What the store says of everything that has not ended, read once and shared by a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.store.clock import read_clock
from control_plane.store.repositories import deployments, instances, replicas
from control_plane.store.repositories.listings import Deployed
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Replica


@dataclass(frozen=True, slots=True)
class Live:
    """Rows as one snapshot saw them; whoever writes one holds it first, and reads it again."""

    now: float
    """Database time."""
    deployments: Sequence[Deployed]
    """By name."""
    replicas: Sequence[Replica]
    """Oldest first."""
    instances: Mapping[str, Instance]
    """By id, oldest first."""


class LiveRows:
    """One reading serves until it is forgotten: a pass that changes nothing reads once, however
    many nouns look, and with the same few statements however many rows there are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._live: Live | None = None

    async def read(self) -> Live:
        """Raises SQLAlchemyError: the store does not answer."""
        if self._live is None:
            async with self._database.snapshot() as session:
                self._live = Live(
                    now=await read_clock(session),
                    deployments=await deployments.all_live(session),
                    replicas=await replicas.live(session),
                    instances={each.id: each for each in await instances.live(session)},
                )
        return self._live

    def forget(self) -> None:
        """What was read is not so any more."""
        self._live = None
