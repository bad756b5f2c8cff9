"""Parts of a file over HTTP: straight into the caller's memory, resumed where they break off.

Not a client for everything: GET with one `Range`, of a server that knows ranges and lengths. What
httpx and boto3 add to each request costs more processor time than the bytes do.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.storage.base import Damaged, NotStored, StorageAway, StorageDenied
from infra.storage.http_connection import BrokenConnection, Connection, Head, open_connection
from infra.storage.ranges import Slow

_TRIES = 6
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_SILENCE_S = 10.0
_GRACE_S = 60.0
_SLOWEST_BYTES_PER_S = 16 << 10
"""What comes slower than this, after the grace, is given up."""
_KEPT_CONNECTIONS = 64
_BUSY = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file is asked for, and with which right."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)


Sign = Callable[[], Target]
"""Asked before each request: rights may run out."""


class HttpFile:
    """`RangedFile` behind a URL."""

    def __init__(
        self, where: str, size_bytes: int, sign: Sign, etag: str = "", tries: int = _TRIES
    ) -> None:
        """
        Args:
            etag: of the version that is meant; empty: of the one that answers first.
            tries: in a row that may bring nothing.
        """
        self.where = where
        self.size_bytes = size_bytes
        self.tries = tries
        self._sign = sign
        self._etag = etag
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[HttpRangeRead] = set()
        self._closed = False

    def request(self, begin: int, into: memoryview) -> HttpRangeRead:
        return HttpRangeRead(self, begin, into)

    def read(self, begin: int, into: memoryview) -> None:
        self.request(begin, into).run()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for read in busy:
            read.cancel()
        for connection in idle:
            connection.close()

    def target(self) -> Target:
        signed = self._sign()
        if not self._etag:
            return signed
        return Target(signed.url, {**signed.headers, "if-match": self._etag})

    def check_version(self, head: Head) -> None:
        """Raises Damaged: this is not the file that was there before, or not all of it."""
        etag = head.headers.get("etag", "")
        with self._lock:
            self._etag = self._etag or etag
            changed = bool(etag) and etag != self._etag
        if changed or head.total_bytes != self.size_bytes:
            raise Damaged(
                f"{self.where} has changed ({head.total_bytes} bytes, {self.size_bytes} are "
                "meant): import the model again"
            )

    def kept_connection(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def keep(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _KEPT_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    def begun(self, read: HttpRangeRead) -> None:
        with self._lock:
            self._busy.add(read)
            closed = self._closed
        if closed:
            read.cancel()

    def ended(self, read: HttpRangeRead) -> None:
        with self._lock:
            self._busy.discard(read)


class HttpRangeRead:
    """`RangeRead` of an `HttpFile`."""

    def __init__(self, file: HttpFile, begin: int, into: memoryview) -> None:
        self._file = file
        self._begin = begin
        self._into = into
        self._got = 0
        self._cancelled = threading.Event()
        self._connection: Connection | None = None
        self._slow: Slow | None = None
        self._slow_at_s = float("inf")

    def run(self, slow_after_s: float | None = None, slow: Slow | None = None) -> None:
        now = time.monotonic()
        if slow_after_s is not None:
            self._slow_at_s, self._slow = now + slow_after_s, slow
        give_up_at_s = now + _GRACE_S + len(self._into) / _SLOWEST_BYTES_PER_S
        self._file.begun(self)
        try:
            self._run(give_up_at_s)
        finally:
            self._file.ended(self)

    def cancel(self) -> None:
        self._cancelled.set()
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def _run(self, give_up_at_s: float) -> None:
        fruitless, pause_s, why = 0, _FIRST_PAUSE_S, ""
        while self._got < len(self._into):
            before = self._got
            if self._cancelled.is_set():
                raise StorageAway(f"{self._file.where} is not read any more")
            try:
                self._read_on(give_up_at_s)
                return
            except BrokenConnection as error:
                why = str(error)
            moved_on = self._got > before
            fruitless = 0 if moved_on else fruitless + 1
            if fruitless >= self._file.tries or time.monotonic() > give_up_at_s:
                raise StorageAway(f"{self._file.where} cannot be read: {why}")
            if moved_on:
                pause_s = _FIRST_PAUSE_S
            else:
                # Spread, so that what was refused together does not come back together.
                self._pause(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _pause(self, pause_s: float) -> None:
        until_slow_s = min(pause_s, max(0.0, self._slow_at_s - time.monotonic()))
        self._cancelled.wait(until_slow_s)
        self._tell_if_slow()
        self._cancelled.wait(pause_s - until_slow_s)

    def _read_on(self, give_up_at_s: float) -> None:
        """Raises BrokenConnection: what came before it broke is kept."""
        target = self._file.target()
        first, last = self._begin + self._got, self._begin + len(self._into) - 1
        headers = {**target.headers, "range": f"bytes={first}-{last}"}
        connection, head = self._ask(target.url, headers)
        whole = False
        try:
            self._check(head, first, last)
            while self._got < len(self._into):
                if self._cancelled.is_set() or time.monotonic() > give_up_at_s:
                    raise BrokenConnection("it takes too long")
                self._got += connection.receive(self._into[self._got :], self._wait_s())
                self._tell_if_slow()
            whole = not head.closes
        finally:
            self._connection = None
            if whole:
                self._file.keep(connection)
            else:
                connection.close()

    def _ask(self, url: str, headers: dict[str, str]) -> tuple[Connection, Head]:
        """Over a connection that was kept, or a new one. Raises BrokenConnection."""
        kept = self._file.kept_connection()
        if kept is not None:
            try:
                return kept, self._ask_over(kept, url, headers)
            except BrokenConnection:  # as servers end what was idle for a while
                kept.close()
                if self._cancelled.is_set():
                    raise
        fresh = open_connection(url, _SILENCE_S)
        try:
            return fresh, self._ask_over(fresh, url, headers)
        except BrokenConnection:
            fresh.close()
            raise

    def _ask_over(self, connection: Connection, url: str, headers: dict[str, str]) -> Head:
        self._connection = connection
        connection.send(url, headers)
        while True:
            head = connection.head(self._wait_s())
            self._tell_if_slow()
            if head is not None:
                return head
            if self._cancelled.is_set():
                raise BrokenConnection("it is not wanted any more")

    def _wait_s(self) -> float:
        """None comes for longer: look whether this is slow by now, or the server is silent."""
        return min(_SILENCE_S, max(0.001, self._slow_at_s - time.monotonic()))

    def _tell_if_slow(self) -> None:
        if self._slow is not None and time.monotonic() >= self._slow_at_s:
            slow, self._slow, self._slow_at_s = self._slow, None, float("inf")
            slow()

    def _check(self, head: Head, first: int, last: int) -> None:
        where = self._file.where
        if head.status in _BUSY:
            raise BrokenConnection(f"it answered {head.status}")
        if head.status in (401, 403):
            raise StorageDenied(f"we may not read {where} ({head.status}): check key, role or join")
        if head.status == 404:
            raise NotStored(f"nothing lies at {where}: import the model again")
        if head.status in (412, 416):
            raise Damaged(f"{where} has changed ({head.status}): import the model again")
        if head.status != 206:
            raise StorageAway(
                f"{where} is not served in parts (status {head.status}): use a store, or a proxy, "
                "that knows Range"
            )
        self._file.check_version(head)
        if head.first_byte != first or head.length_bytes != last + 1 - first:
            raise BrokenConnection("it answered with another part")
