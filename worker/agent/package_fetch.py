"""One package on its way into this worker's memory, and from there to disk and peers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from infra.package_index import PackageIndex
from infra.telemetry import logger
from worker.agent.metrics import REFETCHED_CHUNKS, WEIGHT_BYTES
from worker.loader.cache_entry import CacheEntry
from worker.loader.fetch import FetchStopped, Unobtainable, fetch
from worker.loader.landing import OwnLanding
from worker.loader.tiers.base import Tier
from worker.loader.write_through import WriteThrough

_log = logger(__name__)


class PackageFetch:
    """Begins at once, in a thread; `close` must be called."""

    def __init__(
        self,
        where: str,
        landing: OwnLanding,
        tiers: Sequence[Tier],
        entry: CacheEntry | None,
        unshare: Callable[[], None],
    ) -> None:
        """
        Args:
            where: the file, as errors name it.
            entry: of the disk cache, closed with this; chunks from elsewhere are kept there.
            unshare: ends the serving to peers.
        """
        self.landing = landing
        self.failed = False
        """What has not landed will not."""
        self._where = where
        self._tiers = tiers
        self._entry = entry
        self._unshare = unshare
        self._bytes: Counter[str] = Counter()
        self._checking = 0.0
        """Chunks, each as much as the share of its time that went into checking it."""
        self._landed_chunks = 0
        self._counting = threading.Lock()
        self._stop = threading.Event()
        self._writing = WriteThrough(entry, landing) if entry is not None else None
        self._thread = threading.Thread(target=self._run, name="package-fetch", daemon=True)
        self._thread.start()

    @property
    def bytes_by_tier(self) -> dict[str, int]:
        return dict(self._bytes)

    @property
    def checking_share(self) -> float:
        """Of the time that its threads took for what has landed."""
        return self._checking / max(1, self._landed_chunks)

    def wait(self) -> None:
        """Until everything has landed, or will not."""
        self._thread.join()

    def close(self) -> bool:
        """Stop what goes on and give the memory back; False where an engine still maps it."""
        self._stop.set()
        self._thread.join()
        if self._writing is not None:
            self._writing.stop()
            self._writing.join()
        self._unshare()
        if self._entry is not None:
            self._entry.close()
            self._entry = None
        return self.landing.close()

    def _run(self) -> None:
        try:
            report = fetch(self.landing, self._tiers, self._landed, self._where, self._stop)
        except FetchStopped:
            self.failed = True
        except Unobtainable as error:
            self.failed = True
            _log.error(str(error))
        except Exception:  # noqa: BLE001 - the landing tells its readers
            self.failed = True
            _log.exception("the weights cannot be fetched", file=self._where)
        else:
            REFETCHED_CHUNKS.inc(report.refetched_chunks)
            _log.info(
                "weights have landed",
                file=self._where,
                seconds=round(report.seconds, 3),
                refetched_chunks=report.refetched_chunks,
                **{f"{tier}_bytes": count for tier, count in report.bytes_by_tier.items()},
            )
        if self.failed:
            self._unshare()
        if self._writing is not None:
            self._writing.all_landed()

    def _landed(self, chunk: int, tier: Tier, checking: float) -> None:
        begin, end = self._index.chunk_range(chunk)
        with self._counting:
            self._bytes[tier.name] += end - begin
            self._checking += checking
            self._landed_chunks += 1
        WEIGHT_BYTES.labels(tier.name).inc(end - begin)
        if self._writing is not None:
            self._writing.landed(chunk)

    @property
    def _index(self) -> PackageIndex:
        return self.landing.index
