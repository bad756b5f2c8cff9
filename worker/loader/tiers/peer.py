"""Other workers that hold the package, or load it now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from infra.package_index import PackageIndex
from infra.peer_access import PATH, permission
from infra.storage.base import StorageError
from infra.storage.http_connection import BrokenConnection, Connection, open_connection
from infra.storage.http_ranges import HttpFile, Target
from infra.telemetry import logger
from worker.loader.tiers.base import Held, Miss
from worker.loader.tiers.swarm import DISTRUST_S, RETRY_S, Member, Swarm

_TRIES = 4
_STREAMS = 8
_LOOK_S = 0.05
"""Between two looks at who is there and at what they have; the answer is a byte a chunk."""
_SILENCE_S = 2.0
_STOP_LIMIT_S = 5.0
_log = logger(__name__)


class PeerTier:
    """A chunk is never believed: its strong hash is what finds a peer that sends wrong bytes."""

    name = "peer"
    trusted = False
    tries = _TRIES
    streams = _STREAMS

    def __init__(
        self,
        index: PackageIndex,
        key: str,
        own_address: str,
        addresses: Callable[[], Sequence[str]],
    ) -> None:
        """
        Args:
            key: of this model (`infra.peer_access.weights_key`).
            own_address: as the others know this worker; it is no peer of itself.
            addresses: who holds the package, or loads it, as far as is known now.
        """
        self._index = index
        self._key = key
        self._addresses = addresses
        now_s = time.monotonic()
        self._swarm = Swarm(index.root, own_address, began_s=now_s, idle_since_s=now_s)
        self._changing = threading.Lock()
        self._files: dict[str, HttpFile] = {}
        self._gave: dict[int, str] = {}
        self._closed = threading.Event()
        self._meet()
        self._meeting = threading.Thread(target=self._meet_forever, name="peers", daemon=True)
        self._meeting.start()

    def holds(self, chunk: int) -> Held:
        with self._changing:
            return self._swarm.held(chunk, time.monotonic())

    def reading_from_store(self, _chunk: int, begun: bool) -> None:
        """Hears of this worker's own reads: while there are any it waits for others."""
        with self._changing:
            if begun:
                self._swarm.began()
            else:
                self._swarm.ended(time.monotonic())

    def read(self, chunk: int, into: memoryview) -> None:
        with self._changing:
            member = self._swarm.source(chunk, time.monotonic())
            if member is None:
                raise Miss(f"no peer has chunk {chunk} any more")
            member.reading += 1
            self._swarm.began()
            self._gave[chunk] = member.address
            file = self._file(member.address)
        try:
            file.read(self._index.chunk_range(chunk)[0], into)
        except StorageError as error:
            # Also one that has it no longer: it would be the least busy, and be asked in vain.
            self._avoid(member, RETRY_S)
            raise Miss(str(error)) from error
        finally:
            with self._changing:
                member.reading -= 1
                self._swarm.ended(time.monotonic())

    def broken(self, chunk: int) -> None:
        address = self._gave.get(chunk, "")
        _log.warning("a peer sends wrong bytes", peer=address, chunk=chunk, root=self._index.root)
        member = self._swarm.members.get(address)
        if member is not None:
            self._avoid(member, DISTRUST_S)

    def close(self) -> None:
        self._closed.set()
        with self._changing:
            files = list(self._files.values())
        for file in files:
            file.close()

    def _avoid(self, member: Member, for_s: float) -> None:
        with self._changing:
            member.avoided_until_s = max(member.avoided_until_s, time.monotonic() + for_s)

    def _file(self, address: str) -> HttpFile:
        if address not in self._files:
            path = f"{PATH}/{self._index.root}"
            target = self._target(address, path)
            where = f"{self._index.root[:12]} at {address}"
            self._files[address] = HttpFile(where, self._index.data_bytes, lambda: target, tries=1)
        return self._files[address]

    def _target(self, address: str, path: str) -> Target:
        shown = permission(self._key, address, path)
        return Target(f"http://{address}{path}", {"authorization": shown})

    def _meet_forever(self) -> None:
        while not self._closed.wait(_LOOK_S):
            self._meet()

    def _meet(self) -> None:
        with self._changing:
            new = self._swarm.meet(self._addresses(), time.monotonic())
        for member in new:
            watch = threading.Thread(target=self._watch, args=(member,), daemon=True)
            watch.start()

    def _watch(self, member: Member) -> None:
        """Ask one peer what it has, until it has everything or is gone."""
        connection: Connection | None = None
        try:
            while not self._closed.is_set() and not member.is_whole():
                if self._swarm.members.get(member.address) is not member:
                    return
                try:
                    connection = connection or open_connection(
                        f"http://{member.address}", _SILENCE_S
                    )
                    states = self._ask(connection, member.address)
                    with self._changing:
                        member.said(states, time.monotonic())
                except BrokenConnection:
                    _close(connection)
                    connection = None
                    self._avoid(member, RETRY_S)
                    self._closed.wait(RETRY_S)
                self._closed.wait(_LOOK_S)
        finally:
            _close(connection)

    def _ask(self, connection: Connection, address: str) -> bytes:
        """Raises BrokenConnection."""
        target = self._target(address, f"{PATH}/{self._index.root}/chunks")
        head = connection.ask(target.url, target.headers)
        if head.status != 200 or head.length_bytes != len(self._index.chunks):
            raise BrokenConnection(f"{address} answered {head.status}")
        states = bytearray(head.length_bytes)
        got = 0
        while got < len(states):
            got += connection.receive(memoryview(states)[got:], _SILENCE_S)
        return bytes(states)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        with suppress(OSError):
            connection.close()
