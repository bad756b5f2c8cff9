"""Parts of files from a real S3, through a proxy that has bad days: the right bytes or a reason."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.storage import http_ranges
from infra.storage.base import Damaged, NotStored, StorageAway, StorageDenied
from infra.storage.hedging import HedgedFile
from infra.storage.ranges import DirectoryFile
from infra.storage.s3_client import s3_client
from infra.storage.s3_location import S3Location
from infra.storage.s3_ranges import open_object
from loadtests.chaos.fault_proxy import FaultProxy, Faults
from tests.fixtures.s3_server import Bucket
from tests.fixtures.waiting import block_until

BODY = random.Random(3).randbytes(3 << 20)
PART_BYTES = 256 << 10
DICE = random.Random(1)


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[FaultProxy]:
    bucket.client.put_object(Bucket=bucket.name, Key="models/a/model.safetensors", Body=BODY)
    with FaultProxy(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def place(bucket: Bucket) -> S3Location:
    return S3Location(bucket.name, "models/a/model.safetensors")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_ranges, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(http_ranges, "_SILENCE_S", 0.5)


def _read_all(file: http_ranges.HttpFile | HedgedFile, streams: int = 8) -> bytes:
    found = bytearray(len(BODY))
    view = memoryview(found)
    with ThreadPoolExecutor(streams) as pool:
        list(
            pool.map(
                lambda begin: file.read(begin, view[begin : begin + PART_BYTES]),
                range(0, len(BODY), PART_BYTES),
            )
        )
    return bytes(found)


def test_parts_come_in_parallel_over_connections_that_are_kept(
    proxy: FaultProxy, place: S3Location
) -> None:
    file = open_object(place, len(BODY), proxy.url)
    assert _read_all(file, streams=4) == BODY
    assert _read_all(file, streams=4) == BODY
    assert proxy.connections <= 4
    # The proxy counts a piece when it is gone, and its reader may be quicker.
    block_until(lambda: proxy.body_bytes >= 2 * len(BODY), "all of it is counted")
    assert proxy.body_bytes == 2 * len(BODY)
    file.close()


@pytest.mark.parametrize(
    "faults",
    [
        Faults(cut_share=0.3),
        Faults(short_share=0.3),
        Faults(stall_share=0.1),
        Faults(refuse=lambda _path: 500 if DICE.random() < 0.4 else 0),
        Faults(refuse=lambda _path: 503 if DICE.random() < 0.4 else 0),
    ],
    ids=["cuts", "short lengths", "stalls", "500", "503"],
)
def test_what_breaks_is_gone_on_with(proxy: FaultProxy, place: S3Location, faults: Faults) -> None:
    proxy.faults = faults
    file = open_object(place, len(BODY), proxy.url)
    assert _read_all(file) == BODY
    file.close()


def test_a_part_that_is_cut_goes_on_where_it_broke(proxy: FaultProxy, place: S3Location) -> None:
    proxy.faults = Faults(cut_share=1.0)
    file = open_object(place, len(BODY), proxy.url)
    assert _read_all(file, streams=1) == BODY
    assert proxy.body_bytes < len(BODY) * 1.5
    file.close()


def test_a_store_that_stays_ill_is_given_up_with_its_name(
    proxy: FaultProxy, place: S3Location
) -> None:
    proxy.faults = Faults(refuse=lambda _path: 500)
    file = open_object(place, len(BODY), proxy.url)
    with pytest.raises(StorageAway, match=r"models/a/model\.safetensors cannot be read: .*500"):
        file.read(0, memoryview(bytearray(10)))
    file.close()


def test_an_object_that_changes_meanwhile_is_noticed(
    proxy: FaultProxy, place: S3Location, bucket: Bucket
) -> None:
    file = open_object(place, len(BODY), proxy.url)
    file.read(0, memoryview(bytearray(10)))
    bucket.client.put_object(Bucket=place.bucket, Key=place.prefix, Body=bytes(len(BODY)))
    with pytest.raises(Damaged, match="has changed"):
        file.read(0, memoryview(bytearray(10)))
    file.close()


def test_an_object_of_another_length_is_noticed(proxy: FaultProxy, place: S3Location) -> None:
    file = open_object(place, len(BODY) + 1, proxy.url)
    with pytest.raises(Damaged, match="has changed"):
        file.read(0, memoryview(bytearray(10)))
    file.close()


def test_refusals_are_told_apart(
    proxy: FaultProxy, place: S3Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotStored, match="nothing lies at s3://"):
        missing = S3Location(place.bucket, "models/b/model.safetensors")
        open_object(missing, 10, proxy.url).read(0, memoryview(bytearray(10)))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3_client.cache_clear()
    with pytest.raises(StorageDenied, match="check key"):
        open_object(place, len(BODY), proxy.url).read(0, memoryview(bytearray(10)))
    s3_client.cache_clear()


@pytest.mark.parametrize("before_the_head", [False, True])
def test_a_read_that_stalls_is_overtaken_by_a_second_one(
    proxy: FaultProxy, place: S3Location, monkeypatch: pytest.MonkeyPatch, before_the_head: bool
) -> None:
    monkeypatch.setattr(http_ranges, "_SILENCE_S", 3600.0)

    def healed() -> None:
        proxy.faults = Faults()

    file = HedgedFile(open_object(place, len(BODY), proxy.url), healed)
    assert _read_all(file) == BODY
    if before_the_head:
        proxy.faults = ill = Faults(stall_head_share=1.0)
    else:
        proxy.faults = ill = Faults(stall_share=1.0)
    found = bytearray(PART_BYTES)
    file.read(0, memoryview(found))
    assert found == BODY[:PART_BYTES]
    assert proxy.faults is not ill
    file.close()


def test_a_closed_file_ends_what_reads_it(proxy: FaultProxy, place: S3Location) -> None:
    proxy.faults = Faults(stall_share=1.0)
    file = open_object(place, len(BODY), proxy.url)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(file.read, 0, memoryview(bytearray(PART_BYTES)))
        block_until(lambda: proxy.body_bytes or reading.done(), "a part has come")
        file.close()
        with pytest.raises(StorageAway, match="not read any more"):
            reading.result(10.0)


def test_parts_of_a_directory_are_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(BODY)
    file = DirectoryFile(tmp_path / "weights", len(BODY))
    found = bytearray(1000)
    file.read(5000, memoryview(found))
    assert found == BODY[5000:6000]
    with pytest.raises(Damaged, match="ends at"):
        file.read(len(BODY) - 10, memoryview(found))
    with pytest.raises(Damaged, match="bytes and should have"):
        DirectoryFile(tmp_path / "weights", 10)
    with pytest.raises(NotStored):
        DirectoryFile(tmp_path / "nothing", 10)
