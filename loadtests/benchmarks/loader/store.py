"""Packages from a real S3 server on loopback.

1. `store.capped.vs_ceiling`: through a proxy that caps each connection at 20 MB/s and adds 30 ms to
   its first byte, every chunk verified, against the server's own rate (its best with 4, 8 and 16
   streams, nothing verified), in turns.
2. `swarm.4_workers.copies_read`: four workers that start together, through the same proxy; bytes
   that left the store, by the count of the proxy.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import EmbeddedValkey
from infra.settings import Settings
from infra.storage.opening import open_storage
from infra.storage.s3_client import s3_client
from infra.storage.s3_location import S3Location, parse_s3
from infra.storage.s3_ranges import open_object
from loadtests.benchmarks.loader.random_package import RandomPackage, random_package
from loadtests.benchmarks.loader.swarm import SwarmMember, load_together
from loadtests.benchmarks.report import Row, row
from loadtests.benchmarks.s3_server import KEY, SECRET, S3Server
from loadtests.chaos.slow_proxy import SlowProxy
from worker.loader.arena import Arena
from worker.loader.fetch import fetch
from worker.loader.landing import Landing
from worker.loader.tiers.store import StoreTier

_CHUNK_BYTES = 8 << 20
_CONNECTION_BYTES_PER_S = 20e6
_LATENCY_S = 0.03
_STREAMS = 64
_CEILING_STREAMS = (4, 8, 16)
_BUCKET = "benchmark"
_WORKERS = 4


@dataclass(frozen=True, slots=True)
class _Size:
    package_bytes: int
    rounds: int


_FULL = _Size(512 << 20, 5)
_QUICK = _Size(128 << 20, 1)


@dataclass(frozen=True, slots=True)
class _Stored:
    package: RandomPackage
    uri: str
    endpoint: str


def store_rows(quick: bool) -> list[Row]:
    """Raises NoS3Server."""
    size = _QUICK if quick else _FULL
    with _stored(size.package_bytes) as stored:
        return [_capped_row(stored, size.rounds), _swarm_row(stored, size.rounds)]


@contextmanager
def _stored(package_bytes: int) -> Iterator[_Stored]:
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tamer-store-")))
        (folder / "s3").mkdir()
        server = stack.enter_context(S3Server(folder / "s3"))
        client = s3_client(server.endpoint)
        server.wait_until_ready(client)
        client.create_bucket(Bucket=_BUCKET)
        package = random_package(package_bytes, _CHUNK_BYTES)
        digest = package.write(folder / "package")
        url = f"s3://{_BUCKET}/models"
        settings = Settings(home=folder, storage_url=url, s3_endpoint=server.endpoint)
        uri = open_storage(settings).put(digest, folder / "package")
        yield _Stored(package, uri, server.endpoint)


def _capped_row(stored: _Stored, rounds: int) -> Row:
    arena = Arena(stored.package.index.data_bytes)
    arena.warm_up(stored.package.index.data_bytes)
    capped, ceilings, cpu = [], [], []
    with _capped_store(stored) as proxy:
        s3_client(proxy.url)  # an agent makes its client once
        for _ in range(rounds):
            ceilings.append(max(_ceiling(stored, streams) for streams in _CEILING_STREAMS))
            began_cpu_s = time.process_time()
            capped.append(_capped(stored, proxy.url, arena))
            cpu.append(time.process_time() - began_cpu_s)
    cpu_s_per_gb = sorted(cpu)[len(cpu) // 2] / stored.package.index.data_bytes * 1e9
    return row(
        "store.capped.vs_ceiling",
        capped,
        "MB/s",
        ceilings,
        0.9,
        remark=f"{_STREAMS} streams, BLAKE3 of every chunk, {cpu_s_per_gb:.2f} CPU-s/GB",
    )


def _capped(stored: _Stored, endpoint: str, arena: Arena) -> float:
    """MB/s of one fetch."""
    index = stored.package.index
    landing = Landing.create(index, stored.package.header, arena)
    file = open_object(_weights(stored), index.file_bytes, endpoint)
    began_s = time.monotonic()
    fetch(landing, [StoreTier(index, file, _STREAMS)])
    took_s = time.monotonic() - began_s
    landing.close()
    return index.data_bytes / took_s / 1e6


def _ceiling(stored: _Stored, streams: int) -> float:
    """MB/s that the server gives to so many connections, thrown away."""
    index = stored.package.index
    file = open_object(_weights(stored), index.file_bytes, stored.endpoint)

    def read(chunk: int) -> None:
        begin, end = index.chunk_range(chunk)
        file.read(index.header_bytes + begin, memoryview(bytearray(end - begin)))

    began_s = time.monotonic()
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(read, range(len(index.chunks))))
    took_s = time.monotonic() - began_s
    file.close()
    return index.data_bytes / took_s / 1e6


def _capped_store(stored: _Stored) -> SlowProxy:
    return SlowProxy(stored.endpoint, _CONNECTION_BYTES_PER_S, _LATENCY_S)


def _weights(stored: _Stored) -> S3Location:
    return parse_s3(f"{stored.uri}/model.safetensors")


def _swarm_row(stored: _Stored, rounds: int) -> Row:
    copies, slowest = [], []
    for _ in range(rounds):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tamer-swarm-")))
            redis = EmbeddedValkey(folder / "valkey.sock", None, folder / "valkey.log")
            redis.start()
            stack.callback(redis.stop)
            proxy = stack.enter_context(_capped_store(stored))
            environment = {
                "TAMER_S3_ENDPOINT": proxy.url,
                "TAMER_JOBS_URL": redis.url,
                "TAMER_MODEL_CACHE_BYTES": "0",
                "TAMER_WEIGHTS_MEMORY_BYTES": str(2 * stored.package.index.data_bytes),
            }
            started = [
                SwarmMember(stored.uri, folder / str(worker), environment)
                for worker in range(_WORKERS)
            ]
            members = [stack.enter_context(each) for each in started]
            loaded = load_together(members)
            copies.append(proxy.body_bytes / stored.package.index.file_bytes)
            slowest.append(max(each.seconds for each in loaded))
    return row(
        "swarm.4_workers.copies_read",
        copies,
        "copies",
        goal=1.3,
        less_is_better=True,
        remark=f"the last one had it after {sorted(slowest)[len(slowest) // 2]:.1f} s",
    )
