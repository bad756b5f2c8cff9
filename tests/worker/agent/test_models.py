"""A worker's models: from a real S3 on bad days, from its disk, from its memory, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.settings import Settings
from infra.storage.base import Damaged, StorageAway
from infra.storage.directory import uri_of
from infra.storage.opening import open_storage
from infra.wire import ReplicaSpec
from loadtests.benchmarks.loader.random_package import RandomPackage, random_package
from loadtests.chaos.fault_proxy import FaultProxy, Faults
from tests.fixtures.s3_server import Bucket
from tests.fixtures.waiting import block_until
from tests.infra.storage.tree_directory import write_tree
from worker.agent.held_model import HeldModel
from worker.agent.models import Models
from worker.agent.shelf import NoMemory
from worker.loader.landing import Landing, LandingFailed

LIMIT_S = 20.0


@pytest.fixture
def package() -> RandomPackage:
    return random_package()


@pytest.fixture
def store(bucket: Bucket) -> Iterator[FaultProxy]:
    with FaultProxy(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def settings(bucket: Bucket, store: FaultProxy, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        storage_url=f"{bucket.url}/models",
        s3_endpoint=store.url,
        weights_memory_bytes=8 << 20,
        weights_kept_bytes=4 << 20,
    )


Opened = Callable[..., Models]


@pytest.fixture
def opened(settings: Settings) -> Iterator[Opened]:
    """Workers of this machine, one after the other."""
    made: list[Models] = []

    def another(**changes: object) -> Models:
        for each in made:
            each.close()
        made.append(Models(settings.model_copy(update=changes)))
        return made[-1]

    yield another
    for each in made:
        each.close()


def _put(package: RandomPackage, settings: Settings, folder: Path) -> str:
    digest = package.write(folder)
    return open_storage(settings).put(digest, folder)


def _open(models: Models, uri: str) -> HeldModel:
    return models.open(ReplicaSpec("replica", "revision", uri), lambda _count: None)


def _weights(model: HeldModel) -> bytes:
    landing = Landing.open(model.landing)
    return bytes(landing.wait(0, landing.index.data_bytes, LIMIT_S))


def test_a_package_comes_from_the_store_then_from_memory_then_from_the_disk(
    opened: Opened, package: RandomPackage, settings: Settings, store: FaultProxy, tmp_path: Path
) -> None:
    uri = _put(package, settings, tmp_path / "package")
    models = opened()
    first = _open(models, uri)
    assert _weights(first) == package.data
    assert (first.folder / "config.json").read_bytes() == b"{}"
    assert first.bytes_by_tier() == {"store": len(package.data)}
    first.release()
    second = _open(models, uri)
    assert second.bytes_by_tier() == {"memory": len(package.data)}
    assert second.landing == first.landing
    ledgers = second.folder.parent
    block_until(lambda: not list(ledgers.glob(".landed-*")), "the disk has it whole")
    second.release()
    store.faults.refuse = lambda _path: 503
    restarted = _open(opened(), uri)
    assert _weights(restarted) == package.data
    assert restarted.bytes_by_tier() == {"disk": len(package.data)}


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "not cached"])
def test_a_store_on_a_bad_day_delays_a_start_and_changes_no_bit(
    opened: Opened,
    package: RandomPackage,
    settings: Settings,
    store: FaultProxy,
    tmp_path: Path,
    cached: bool,
) -> None:
    uri = _put(package, settings, tmp_path / "package")
    store.faults = Faults(
        cut_share=0.2,
        short_share=0.1,
        flip=lambda path, count: "safetensors" in path and count == 9,
    )
    models = opened(model_cache_bytes=(1 << 30) if cached else 0)
    model = _open(models, uri)
    assert _weights(model) == package.data
    assert (model.folder / "config.json").is_file()
    model.release()


def test_weights_that_are_wrong_everywhere_are_refused_with_file_and_chunk(
    opened: Opened, package: RandomPackage, settings: Settings, bucket: Bucket, tmp_path: Path
) -> None:
    uri = _put(package, settings, tmp_path / "package")
    digest = uri.rpartition("/")[2]
    wrong = bytearray(package.header + package.data)
    wrong[package.index.header_bytes + 7 * package.index.chunk_bytes] ^= 1
    key = f"models/{digest}/model.safetensors"
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=bytes(wrong))
    models = opened()
    refused = _open(models, uri)
    with pytest.raises(LandingFailed, match=rf"{digest}/model\.safetensors: chunk 7 of 21"):
        _weights(refused)
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=bytes(package.header + package.data))
    again = _open(models, uri)
    assert _weights(again) == package.data
    for model in (refused, again):
        model.release()


def test_another_whole_model_under_the_key_of_this_one_is_refused(
    package: RandomPackage, settings: Settings, opened: Opened, bucket: Bucket, tmp_path: Path
) -> None:
    uri = _put(package, settings, tmp_path / "wanted")
    other = random_package(seed=1)
    theirs = _put(other, settings, tmp_path / "other")
    keys = {each: f"models/{each.rpartition('/')[2]}" for each in (uri, theirs)}
    for name in ("model.safetensors", "package.json", "manifest.json"):
        source = {"Bucket": bucket.name, "Key": f"{keys[theirs]}/{name}"}
        bucket.client.copy_object(Bucket=bucket.name, Key=f"{keys[uri]}/{name}", CopySource=source)
    with pytest.raises(Damaged, match="holds another tree"):
        _open(opened(), uri)


def test_a_store_that_is_away_is_said_to_be_away(
    opened: Opened, package: RandomPackage, settings: Settings, store: FaultProxy, tmp_path: Path
) -> None:
    uri = _put(package, settings, tmp_path / "package")
    store.faults.refuse = lambda _path: 503
    with pytest.raises(StorageAway, match="S3 could not serve"):
        _open(opened(), uri)


def test_a_package_in_a_folder_is_read_in_place(
    opened: Opened, package: RandomPackage, settings: Settings, tmp_path: Path
) -> None:
    package.write(tmp_path / "package")
    model = _open(opened(), uri_of(tmp_path / "package"))
    assert _weights(model) == package.data
    assert model.folder == tmp_path / "package"
    assert not settings.model_cache_dir.exists()
    model.release()


def test_a_plain_tree_is_a_folder_and_no_landing(
    opened: Opened, settings: Settings, tmp_path: Path
) -> None:
    files = {"model.safetensors": bytes(1000), "config.json": b"{}"}
    digest = write_tree(tmp_path / "plain", files)
    in_place = _open(opened(), uri_of(tmp_path / "plain"))
    assert (in_place.folder, in_place.landing) == (tmp_path / "plain", "")
    uri = open_storage(settings).put(digest, tmp_path / "plain")
    fetched = _open(opened(), uri)
    assert (fetched.folder, fetched.landing) == (settings.model_cache_dir / digest, "")
    assert (fetched.folder / "model.safetensors").read_bytes() == bytes(1000)
    fetched.release()


def test_what_nobody_uses_makes_room_in_memory_and_what_is_used_does_not(
    opened: Opened, settings: Settings, tmp_path: Path
) -> None:
    packages = [random_package(3 << 20, seed=seed) for seed in range(3)]
    uris = []
    for number, package in enumerate(packages):
        package.write(tmp_path / f"package-{number}")
        uris.append(uri_of(tmp_path / f"package-{number}"))
    models = opened(weights_memory_bytes=8 << 20)
    used, idle = _open(models, uris[0]), _open(models, uris[1])
    assert (_weights(used), _weights(idle)) == (packages[0].data, packages[1].data)
    with pytest.raises(NoMemory, match="TAMER_WEIGHTS_MEMORY_BYTES"):
        _open(models, uris[2])
    idle.release()
    third = _open(models, uris[2])
    assert _weights(third) == packages[2].data
    assert _weights(used) == packages[0].data


def test_a_model_that_nobody_wants_any_more_is_not_fetched_on(
    opened: Opened, package: RandomPackage, settings: Settings, store: FaultProxy, tmp_path: Path
) -> None:
    uri = _put(package, settings, tmp_path / "package")
    models = opened(store_streams=1)
    store.faults = Faults(connection_bytes_per_s=1e6)
    model = _open(models, uri)
    model.release()
    assert store.body_bytes < len(package.data)
    with pytest.raises(LandingFailed):
        _weights(model)
