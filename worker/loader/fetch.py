"""Fills a landing with the chunks of a package: in the order of need, from the nearest tiers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue

from infra.package_index import DamagedChunk
from infra.telemetry import logger
from worker.loader.landing import OwnLanding
from worker.loader.tiers.base import Held, Miss, Tier, TierFailed

_WINDOW_CHUNKS = 512
"""How far ahead of the first missing chunk another one is begun."""
_LOOK_AGAIN_S = 0.02
"""Pause before tiers are asked again for what they said comes soon."""
_log = logger(__name__)

Landed = Callable[[int, Tier, float], None]
"""Hears each chunk that has landed, where from, and which share of its time went into checking it,
in the thread that read it; must be quick."""


class FetchStopped(RuntimeError):
    """Nobody wants the package any more."""


class Unobtainable(RuntimeError):
    """A chunk cannot be had from any tier; the message names file and chunk and says why."""


@dataclass(frozen=True, slots=True)
class FetchReport:
    bytes_by_tier: dict[str, int]
    refetched_chunks: int
    """Chunks that were read more than once because what came first was broken."""
    seconds: float


def fetch(
    landing: OwnLanding,
    tiers: Sequence[Tier],
    landed: Landed = lambda _chunk, _tier, _checking: None,
    where: str = "model.safetensors",
    stop: threading.Event | None = None,
) -> FetchReport:
    """Bring what is missing; returns when all has landed and been verified.

    Args:
        tiers: the nearest first; closed at the end.
        where: the file, as errors name it.
        stop: ends the fetch within moments.

    Raises:
        Unobtainable, FetchStopped: readers of the landing get a LandingFailed that says the same.
    """
    began_s = time.monotonic()
    fetched = _Fetch(landing, tiers, landed, where, stop or threading.Event())
    try:
        fetched.run()
    finally:
        for tier in tiers:
            tier.close()
    return FetchReport(dict(fetched.bytes), len(fetched.refetched), time.monotonic() - began_s)


@dataclass(frozen=True, slots=True)
class _Reading:
    chunk: int
    tier: Tier


@dataclass(frozen=True, slots=True)
class _Ended:
    reading: _Reading
    failure: Miss | TierFailed | DamagedChunk | None
    crash: Exception | None = None


class _Fetch:
    """One thread decides, as many as tiers have streams read."""

    def __init__(
        self,
        landing: OwnLanding,
        tiers: Sequence[Tier],
        landed: Landed,
        where: str,
        stop: threading.Event,
    ) -> None:
        self.bytes: Counter[str] = Counter()
        self.refetched: set[int] = set()
        self._landing = landing
        self._tiers = tiers
        self._landed = landed
        self._where = where
        self._stop = stop
        self._choice = ChunkChoice(landing.missing(), tiers)
        self._ended: SimpleQueue[_Ended] = SimpleQueue()
        self._streams = sum(tier.streams for tier in tiers)

    def run(self) -> None:
        threads = max(1, min(self._streams, len(self._choice.waiting)))
        with ThreadPoolExecutor(threads, "fetch") as pool:
            try:
                self._drive(pool)
            except Exception as error:
                self._landing.fail(str(error))
                for tier in self._tiers:
                    tier.close()  # or the pool would wait for what nobody wants
                raise

    def _drive(self, pool: ThreadPoolExecutor) -> None:
        running = 0
        while running or self._choice.waiting:
            if self._stop.is_set():
                raise FetchStopped(f"{self._where} is not wanted any more")
            while (reading := self._next()) is not None:
                pool.submit(self._read, reading)
                running += 1
            try:
                ended = self._ended.get(timeout=_LOOK_AGAIN_S)
            except Empty:
                continue
            running -= 1
            self._account(ended)

    def _next(self) -> _Reading | None:
        try:
            return self._choice.next()
        except LookupError as error:
            chunk, reasons = error.args
            begin, end = self._landing.index.chunk_range(chunk)
            first_byte = self._landing.index.header_bytes + begin
            raise Unobtainable(
                f"{self._where}: chunk {chunk} of {len(self._landing.index.chunks)} (bytes "
                f"{first_byte} to {first_byte + end - begin}) cannot be had: {reasons}; "
                "check the store, or import the model again"
            ) from None

    def _read(self, reading: _Reading) -> None:
        chunk, tier = reading.chunk, reading.tier
        try:
            began_s = time.monotonic()
            room = self._landing.room(chunk)
            tier.read(chunk, room)
            read_s = time.monotonic()
            self._landing.index.check_chunk(chunk, room, strong=not tier.trusted)
            checked_s = time.monotonic()
            self._landing.landed(chunk)
            self._landed(chunk, tier, (checked_s - read_s) / max(checked_s - began_s, 1e-9))
        except (Miss, TierFailed, DamagedChunk) as failure:
            self._ended.put(_Ended(reading, failure))
        except Exception as crash:  # noqa: BLE001 - it belongs to whoever waits for the fetch
            self._ended.put(_Ended(reading, None, crash))
        else:
            self._ended.put(_Ended(reading, None))

    def _account(self, ended: _Ended) -> None:
        chunk, tier = ended.reading.chunk, ended.reading.tier
        if ended.crash is not None:
            raise ended.crash
        if ended.failure is None:
            begin, end = self._landing.index.chunk_range(chunk)
            self.bytes[tier.name] += end - begin
            self._choice.done(ended.reading)
            return
        if isinstance(ended.failure, DamagedChunk):
            tier.broken(chunk)
            self.refetched.add(chunk)
            _log.warning("a chunk is broken", file=self._where, chunk=chunk, tier=tier.name)
        self._choice.failed(ended.reading, str(ended.failure))


class ChunkChoice:
    """Which chunk is read next, and from which tier; of one thread."""

    def __init__(self, missing: Iterable[int], tiers: Sequence[Tier]) -> None:
        self.waiting = dict.fromkeys(missing)
        """Chunks in the order of need that nobody reads now."""
        self._tiers = tiers
        self._running = Counter[str]()
        self._tried: dict[int, list[tuple[Tier, str]]] = {}

    def next(self) -> _Reading | None:
        """What to begin now; None where there is nothing, or no stream for it.

        Raises:
            LookupError: (chunk, why no tier has it).
        """
        if all(self._running[tier.name] >= tier.streams for tier in self._tiers):
            return None
        for chunk in islice(self.waiting, _WINDOW_CHUNKS):
            tier = self._nearest(chunk)
            if tier is not None and self._running[tier.name] < tier.streams:
                del self.waiting[chunk]
                self._running[tier.name] += 1
                return _Reading(chunk, tier)
        return None

    def done(self, reading: _Reading) -> None:
        self._running[reading.tier.name] -= 1
        self._tried.pop(reading.chunk, None)

    def failed(self, reading: _Reading, reason: str) -> None:
        self._running[reading.tier.name] -= 1
        self._tried.setdefault(reading.chunk, []).append((reading.tier, reason))
        self.waiting = {reading.chunk: None, **self.waiting}

    def _nearest(self, chunk: int) -> Tier | None:
        tried = self._tried.get(chunk, [])
        exhausted = True
        for tier in self._tiers:
            if sum(each is tier for each, _ in tried) >= tier.tries:
                continue
            held = tier.holds(chunk)
            if held is Held.HERE:
                return tier
            if held is Held.SOON:
                exhausted = False
                break
        if exhausted:
            reasons = ", ".join(f"{tier.name}: {reason}" for tier, reason in tried)
            raise LookupError(chunk, reasons or "no tier has it")
        return None
