"""Who of the workers that load one package reads which chunk from the store (pure).

Each chunk has an owner among those who still load, by rendezvous hashing (Thaler and Ravishankar,
1998): all who know the same members agree without a word, and one who leaves moves his own chunks
only. The others wait for the owner and read from him, and from each other, as in BitTorrent; who
has nothing else to do, or sees an owner stand still, reads from the store himself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import xxhash

from infra.peer_access import LANDED, READING
from worker.loader.tiers.base import Held

PATIENCE_S = 2.0
"""An owner who lands nothing for so long is not waited for."""
IDLE_LIMIT_S = 0.5
"""One who has read nothing for so long, though others brought chunks, helps himself."""
FIRST_WORD_LIMIT_S = 0.5
"""So long a new member is believed to have everything that is wanted."""
GREETING_S, FIRST_READS = 0.25, 4
"""So long a worker reads so little from the store: others may begin now, whom it does not know."""
DISTRUST_S = 60.0
RETRY_S = 2.0


@dataclass
class Member:
    """Another worker, as this one sees it."""

    address: str
    met_at_s: float
    states: bytes = b""
    """A byte for each chunk, as `infra.peer_access` says; empty before its first word."""
    moved_at_s: float = 0.0
    avoided_until_s: float = float("-inf")
    reading: int = 0
    """Chunks that this worker reads from it now."""

    def has(self, chunk: int) -> bool:
        return chunk < len(self.states) and self.states[chunk] == LANDED

    def is_whole(self) -> bool:
        return bool(self.states) and self.states.count(LANDED) == len(self.states)

    def said(self, states: bytes, now_s: float) -> None:
        if states != self.states:
            self.states = states
            self.moved_at_s = now_s


@dataclass
class Swarm:
    """The state of one fetch; times are of one clock of the caller."""

    root: str
    own_address: str
    began_s: float = 0.0
    members: dict[str, Member] = field(default_factory=dict)
    busy: int = 0
    """Reads of this worker, from anywhere but the disk."""
    idle_since_s: float = 0.0
    helps_itself_until_s: float = float("-inf")

    def meet(self, addresses: Iterable[str], now_s: float) -> list[Member]:
        """Who can be asked now; returns those who are new."""
        wanted = set(addresses) - {self.own_address}
        for address in self.members.keys() - wanted:
            del self.members[address]
        new = [Member(each, now_s, moved_at_s=now_s) for each in wanted - self.members.keys()]
        self.members.update({each.address: each for each in new})
        return new

    def began(self) -> None:
        self.busy += 1

    def ended(self, now_s: float) -> None:
        self.busy -= 1
        self.idle_since_s = now_s

    def held(self, chunk: int, now_s: float) -> Held:
        """HERE at some peer, SOON at some peer, or NO: read it from the store."""
        useful = [each for each in self.members.values() if each.avoided_until_s <= now_s]
        if any(each.has(chunk) for each in useful):
            return Held.HERE
        if any(not m.states and now_s - m.met_at_s < FIRST_WORD_LIMIT_S for m in useful):
            return Held.SOON
        if now_s - self.began_s < GREETING_S and self.busy >= FIRST_READS:
            return Held.SOON
        if self._helps_itself(now_s):
            return Held.NO
        moving = [m for m in useful if m.states and now_s - m.moved_at_s < PATIENCE_S]
        if any(m.states[chunk] == READING for m in moving if chunk < len(m.states)):
            return Held.SOON
        loading = [m.address for m in moving if not m.is_whole()]
        return Held.NO if self.owner(chunk, loading) == self.own_address else Held.SOON

    def owner(self, chunk: int, others: Iterable[str]) -> str:
        """Of this worker and others: who reads the chunk from the store."""
        return max(
            [self.own_address, *others],
            key=lambda each: (_hash(f"{self.root}:{chunk}:{each}"), each),
        )

    def source(self, chunk: int, now_s: float) -> Member | None:
        """Whom to ask for the chunk: the one from whom least is being read."""
        having = [
            each
            for each in list(self.members.values())
            if each.avoided_until_s <= now_s and each.has(chunk)
        ]
        spread = f"{self.own_address}:{chunk}"
        return min(
            having,
            key=lambda each: (each.reading, _hash(spread + each.address)),
            default=None,
        )

    def _helps_itself(self, now_s: float) -> bool:
        if self.busy == 0 and now_s - self.idle_since_s > IDLE_LIMIT_S:
            self.helps_itself_until_s = now_s + IDLE_LIMIT_S
        return now_s < self.helps_itself_until_s


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
