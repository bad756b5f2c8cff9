"""What a tier is: one place that may have the chunks of a package."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Miss(LookupError):
    """The chunk is not here, though it may have been a moment ago: ask the next tier."""


class TierFailed(RuntimeError):
    """The chunk should be here and cannot be read; the message says why."""


class Held(Enum):
    """What a tier says of a chunk before it is asked for it."""

    HERE = "here"
    SOON = "soon"
    """Somebody brings it: better wait for that than ask a farther tier."""
    NO = "no"


class Tier(Protocol):
    """The chunks of one package. `holds` is asked by one thread, `read` by many."""

    name: str
    """"memory", "disk", "peer" or "store": a label of metrics and of the cold-start ledger."""
    trusted: bool
    """Nobody else writes there: a checksum finds what rots. Elsewhere it takes the strong hash."""
    streams: int
    """Chunks that are read at once."""
    tries: int
    """Times that it is asked for one chunk, where what it gives is broken."""

    def holds(self, chunk: int) -> Held:
        """Must not wait for anybody."""

    def read(self, chunk: int, into: memoryview) -> None:
        """Fill `into` with the bytes of a chunk; once it returns nobody writes there any more.

        Raises:
            Miss: it is not here.
            TierFailed: it is here, but cannot be read.
        """

    def broken(self, chunk: int) -> None:
        """What `read` brought was not what was packed."""

    def close(self) -> None:
        """End what still reads; it raises TierFailed in its threads."""
