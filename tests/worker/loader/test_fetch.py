"""Every chunk from the nearest tier that has it whole; what none has ends the fetch."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from loadtests.benchmarks.loader.random_package import RandomPackage, random_package
from worker.loader.arena import Arena
from worker.loader.fetch import FetchStopped, Unobtainable, fetch
from worker.loader.landing import Landing, LandingFailed, OwnLanding
from worker.loader.tiers.base import Held, Miss, TierFailed

LIMIT_S = 10.0


class ListedTier:
    """Has some chunks of a package; may lie about some, or fail them."""

    tries = 2

    def __init__(self, package: RandomPackage, chunks: range, name: str, streams: int = 4) -> None:
        self.name = name
        self.streams = streams
        self.trusted = False
        self.flipped: set[int] = set()
        self.failing: set[int] = set()
        self.missed: set[int] = set()
        self.soon: set[int] = set()
        self.asked: list[int] = []
        self.closed = threading.Event()
        self._package = package
        self._chunks = chunks

    def holds(self, chunk: int) -> Held:
        if chunk in self.soon:
            return Held.SOON
        return Held.HERE if chunk in self._chunks else Held.NO

    def read(self, chunk: int, into: memoryview) -> None:
        self.asked.append(chunk)
        if chunk in self.missed:
            raise Miss("gone")
        if chunk in self.failing:
            raise TierFailed("the disk has a hole")
        begin, end = self._package.index.chunk_range(chunk)
        into[:] = self._package.data[begin:end]
        if chunk in self.flipped:
            into[100] ^= 1

    def broken(self, chunk: int) -> None:
        self.failing.add(chunk)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def package() -> RandomPackage:
    return random_package()


@pytest.fixture
def landing(package: RandomPackage) -> Iterator[OwnLanding]:
    yield Landing.create(package.index, package.header, Arena(8 << 20))


def _everything(package: RandomPackage) -> range:
    return range(len(package.index.chunks))


def test_each_chunk_comes_from_the_nearest_tier_that_has_it(
    package: RandomPackage, landing: OwnLanding
) -> None:
    disk = ListedTier(package, range(5), "disk")
    store = ListedTier(package, _everything(package), "store")
    heard: dict[int, str] = {}
    report = fetch(landing, [disk, store], lambda chunk, tier, _: heard.update({chunk: tier.name}))
    assert bytes(landing.wait(0, len(package.data), LIMIT_S)) == package.data
    assert sorted(disk.asked) == list(range(5))
    assert sorted(store.asked) == list(range(5, len(package.index.chunks)))
    assert report.bytes_by_tier["disk"] == 5 * package.index.chunk_bytes
    assert sum(report.bytes_by_tier.values()) == len(package.data)
    assert {chunk for chunk, tier in heard.items() if tier == "disk"} == set(range(5))
    assert disk.closed.is_set() and store.closed.is_set()


def test_one_stream_reads_in_the_order_of_need(package: RandomPackage, landing: OwnLanding) -> None:
    store = ListedTier(package, _everything(package), "store", streams=1)
    fetch(landing, [store])
    assert store.asked == sorted(store.asked)


def test_a_flipped_bit_is_fetched_again_from_the_next_tier(
    package: RandomPackage, landing: OwnLanding
) -> None:
    peer = ListedTier(package, _everything(package), "peer")
    peer.flipped = {3}
    store = ListedTier(package, _everything(package), "store")
    report = fetch(landing, [peer, store])
    assert bytes(landing.wait(0, len(package.data), LIMIT_S)) == package.data
    assert store.asked == [3]
    assert report.refetched_chunks == 1


def test_what_is_flipped_everywhere_is_refused_with_file_and_chunk(
    package: RandomPackage, landing: OwnLanding
) -> None:
    store = ListedTier(package, _everything(package), "store")
    store.flipped = {7}
    with pytest.raises(Unobtainable, match=r"chat/model\.safetensors: chunk 7 of 21 .*store"):
        fetch(landing, [store], where="chat/model.safetensors")
    begin, end = package.index.chunk_range(7)
    with pytest.raises(LandingFailed, match="chunk 7 of 21"):
        landing.wait(begin, end, LIMIT_S)
    assert 7 in landing.missing()
    assert store.closed.is_set()


def test_a_tier_that_cannot_read_a_chunk_hands_it_on(
    package: RandomPackage, landing: OwnLanding
) -> None:
    disk = ListedTier(package, _everything(package), "disk")
    disk.failing, disk.missed = {1}, {2}
    store = ListedTier(package, _everything(package), "store")
    fetch(landing, [disk, store])
    assert sorted(store.asked) == [1, 2]
    assert landing.missing() == []


def test_what_a_tier_will_have_soon_is_waited_for(
    package: RandomPackage, landing: OwnLanding
) -> None:
    peer = ListedTier(package, range(0), "peer")
    peer.soon = {0, 4}
    store = ListedTier(package, _everything(package), "store")

    def landed(chunk: int, _tier: object, _checking: float) -> None:
        if chunk == 20:
            peer._chunks = range(1)
            peer.soon = set()

    fetch(landing, [peer, store], landed)
    assert peer.asked == [0]
    assert 0 not in store.asked and 4 in store.asked


def test_what_has_landed_is_not_read_again(package: RandomPackage, landing: OwnLanding) -> None:
    store = ListedTier(package, _everything(package), "store")
    fetch(landing, [store])
    store.asked.clear()
    assert fetch(landing, [store]).bytes_by_tier == {}
    assert store.asked == []


def test_a_fetch_that_nobody_wants_ends(package: RandomPackage, landing: OwnLanding) -> None:
    peer = ListedTier(package, range(0), "peer")
    peer.soon = set(_everything(package))
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(FetchStopped):
        fetch(landing, [peer], stop=stop)
    with pytest.raises(LandingFailed, match="not wanted"):
        landing.wait(0, 1, LIMIT_S)
