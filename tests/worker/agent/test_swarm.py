"""Workers that start together, as processes, on a real store and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.embedded import EmbeddedValkey
from infra.package_index import digest_of
from infra.settings import Settings
from infra.storage.opening import open_storage
from loadtests.benchmarks.loader.random_package import RandomPackage, random_package
from loadtests.benchmarks.loader.swarm import SwarmMember, copies_read, load_together
from loadtests.chaos.fault_proxy import FaultProxy, Faults
from tests.fixtures.s3_server import Bucket
from tests.fixtures.waiting import block_until

PACKAGE_BYTES = 16 << 20
CHUNK_BYTES = 256 << 10


@pytest.fixture(scope="module")
def package() -> RandomPackage:
    return random_package(PACKAGE_BYTES, CHUNK_BYTES)


@pytest.fixture
def uri(bucket: Bucket, package: RandomPackage, tmp_path: Path) -> str:
    settings = Settings(
        home=tmp_path / "home", storage_url=f"{bucket.url}/models", s3_endpoint=bucket.endpoint
    )
    digest = package.write(tmp_path / "package")
    return open_storage(settings).put(digest, tmp_path / "package")


@pytest.fixture
def store(bucket: Bucket) -> Iterator[FaultProxy]:
    """As far away as another machine's: it is the network that workers save."""
    with FaultProxy(bucket.endpoint, Faults(0.02, connection_bytes_per_s=4e6)) as proxy:
        yield proxy


@pytest.fixture
def environment(store: FaultProxy, valkey_server: EmbeddedValkey, valkey: object) -> dict[str, str]:
    return {
        "TAMER_S3_ENDPOINT": store.url,
        "TAMER_JOBS_URL": valkey_server.url,
        "TAMER_STORE_STREAMS": "4",
        "TAMER_WEIGHTS_MEMORY_BYTES": str(64 << 20),
    }


def _members(
    stack: ExitStack, count: int, uri: str, folder: Path, environment: dict[str, str]
) -> list[SwarmMember]:
    members = [SwarmMember(uri, folder / f"home-{n}", environment) for n in range(count)]
    return [stack.enter_context(member) for member in members]


def test_workers_that_start_together_read_the_store_about_once_and_later_ones_not_at_all(
    uri: str, package: RandomPackage, store: FaultProxy, environment: dict[str, str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        *together, later = _members(stack, 5, uri, tmp_path, environment)
        store.body_bytes = 0
        loaded = load_together(together)
        assert {each.digest for each in loaded} == {digest_of(package.data)}
        assert copies_read(loaded, PACKAGE_BYTES) <= 1.3, loaded
        assert store.body_bytes <= 1.3 * PACKAGE_BYTES
        (last,) = load_together([later])
        assert last.digest == digest_of(package.data)
        assert last.bytes_by_tier == {"peer": PACKAGE_BYTES}


def test_a_worker_that_dies_in_the_middle_costs_the_other_nothing_but_time(
    uri: str, package: RandomPackage, store: FaultProxy, environment: dict[str, str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        dying, other = _members(stack, 2, uri, tmp_path, environment)
        dying.begin()
        other.begin()
        block_until(lambda: store.body_bytes > PACKAGE_BYTES // 4, "they are in the middle")
        dying.kill()
        assert other.loaded().digest == digest_of(package.data)
