"""A second request where the first is slower than others of its kind.

After "The Tail at Scale" (Dean and Barroso, CACM 2013): what is slower than most of its kind is
asked for again, over another connection, and whichever comes first is taken.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from infra.storage.base import StorageError
from infra.storage.ranges import RangedFile, RangeRead, Slow

_REMEMBERED = 64
_FEWEST = 8
"""Reads to learn from before any is called slow by comparison."""
_SLOW_QUANTILE = 0.9
_SLOW_FACTOR = 2.0
_SLOW_BEFORE_WE_KNOW_S = 3.0
_FASTEST_HEDGE_S = 0.2
_HEDGED_SHARE = 0.1
"""Of all reads, so that a store that is slow as a whole is not asked for everything twice."""
_HEDGES_AT_FIRST = 2.0


class HedgedFile:
    """`RangedFile` around another one. Reads should be of about one size."""

    def __init__(self, file: RangedFile, hedged: Callable[[], None] = lambda: None) -> None:
        """`hedged` hears of each second request."""
        self.where = file.where
        self.size_bytes = file.size_bytes
        self._file = file
        self._hedged = hedged
        self._lock = threading.Lock()
        self._took_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._allowance = _HEDGES_AT_FIRST

    def request(self, begin: int, into: memoryview) -> RangeRead:
        return _HedgedRead(self, self._file, begin, into)

    def read(self, begin: int, into: memoryview) -> None:
        self.request(begin, into).run()

    def close(self) -> None:
        self._file.close()

    def slow_after_s(self) -> float:
        with self._lock:
            self._allowance += _HEDGED_SHARE
            took_s = sorted(self._took_s)
        if len(took_s) < _FEWEST:
            return _SLOW_BEFORE_WE_KNOW_S
        slow_s = _SLOW_FACTOR * took_s[int(_SLOW_QUANTILE * len(took_s))]
        return max(_FASTEST_HEDGE_S, slow_s)

    def may_hedge(self) -> bool:
        with self._lock:
            if self._allowance < 1.0:
                return False
            self._allowance -= 1.0
        self._hedged()
        return True

    def took(self, seconds: float) -> None:
        with self._lock:
            self._took_s.append(seconds)


class _HedgedRead:
    """The first request fills the caller's memory, the second its own, which is copied where it
    wins: two writers of one place could leave a mixture behind after it was verified."""

    def __init__(self, hedged: HedgedFile, file: RangedFile, begin: int, into: memoryview) -> None:
        self._hedged = hedged
        self._file = file
        self._begin = begin
        self._into = into
        self._first = file.request(begin, into)
        self._second: RangeRead | None = None
        self._scratch = bytearray()
        self._thread: threading.Thread | None = None
        self._second_won = False
        self._lock = threading.Lock()
        self._first_ended = False

    def run(
        self,
        slow_after_s: float | None = None,  # noqa: ARG002 - it knows itself what is slow
        slow: Slow | None = None,  # noqa: ARG002
    ) -> None:
        began_s = time.monotonic()
        failure: StorageError | None = None
        try:
            self._first.run(self._hedged.slow_after_s(), self._begin_second)
        except StorageError as error:
            failure = error
        with self._lock:
            self._first_ended = True
        if self._thread is not None:
            if failure is None and self._second is not None:
                self._second.cancel()
            self._thread.join()
        if failure is not None:
            if not self._second_won:
                raise failure
            self._into[:] = self._scratch
        self._hedged.took(time.monotonic() - began_s)

    def cancel(self) -> None:
        self._first.cancel()
        if self._second is not None:
            self._second.cancel()

    def _begin_second(self) -> None:
        if not self._hedged.may_hedge():
            return
        self._scratch = bytearray(len(self._into))
        self._second = self._file.request(self._begin, memoryview(self._scratch))
        self._thread = threading.Thread(target=self._run_second, name="hedge", daemon=True)
        self._thread.start()

    def _run_second(self) -> None:
        assert self._second is not None
        try:
            self._second.run()
        except StorageError:
            return  # the first one goes on, or says what is wrong
        with self._lock:
            self._second_won = True
            if not self._first_ended:
                self._first.cancel()
