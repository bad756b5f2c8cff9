"""The store on S3, against a real server of that protocol."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.settings import Settings
from infra.storage.base import (
    BadKey,
    Damaged,
    DirectoryTaken,
    NotStored,
    StorageAway,
    StorageDenied,
)
from infra.storage.opening import local_path, open_storage, read_file
from infra.storage.s3 import S3Storage
from infra.storage.s3_client import PART_BYTES, s3_client
from infra.storage.s3_location import parse_s3
from tests.fixtures.s3_server import Bucket
from tests.infra.storage.tree_directory import write_tree

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(300_000)}


@pytest.fixture
def settings(bucket: Bucket, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", storage_url=f"{bucket.url}/models", s3_endpoint=bucket.endpoint
    )


@pytest.fixture
def storage(settings: Settings) -> S3Storage:
    opened = open_storage(settings)
    assert isinstance(opened, S3Storage)
    return opened


def _put(storage: S3Storage, tmp_path: Path, files: dict[str, bytes] = FILES) -> tuple[str, str]:
    """Returns (key, URI)."""
    made = tmp_path / "made"
    digest = write_tree(made, files)
    return digest, storage.put(digest, made)


def test_a_stored_tree_comes_back_as_it_was(
    storage: S3Storage, settings: Settings, tmp_path: Path
) -> None:
    digest, uri = _put(storage, tmp_path)
    assert uri == f"{settings.storage_url}/{digest}"
    assert storage.keys() == [digest]
    storage.verify(digest)
    path = local_path(uri, settings)
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    assert read_file(uri, "config.json", settings) == b"{}"
    assert not (tmp_path / "made").exists()


def test_a_file_of_many_parts_is_moved_in_parts(
    storage: S3Storage, settings: Settings, bucket: Bucket, tmp_path: Path
) -> None:
    body = os.urandom(2 * PART_BYTES + 12345)
    _, uri = _put(storage, tmp_path, {"model.safetensors": body})
    key = uri.removeprefix(bucket.url + "/") + "/model.safetensors"
    assert bucket.client.head_object(Bucket=bucket.name, Key=key)["ETag"].endswith('-3"')
    assert (local_path(uri, settings) / "model.safetensors").read_bytes() == body


def test_what_is_moved_is_counted(storage: S3Storage, settings: Settings, tmp_path: Path) -> None:
    made = tmp_path / "made"
    digest = write_tree(made, FILES)
    sent: list[int] = []
    got: list[int] = []
    uri = storage.put(digest, made, sent.append)
    local_path(uri, settings, got.append)
    size = sum(map(len, FILES.values()))
    assert sum(sent) == size
    assert sum(got) >= size


def test_a_tree_without_its_manifest_is_not_there(
    storage: S3Storage, settings: Settings, bucket: Bucket, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    digest = write_tree(made, FILES)

    def stop(_: int) -> None:
        raise InterruptedError("the process ends here")

    with pytest.raises(InterruptedError):
        storage.put(digest, made, stop)
    assert not storage.exists(digest)
    with pytest.raises(NotStored):
        local_path(storage.uri(digest), settings)
    assert storage.put(digest, made) == storage.uri(digest)
    storage.verify(digest)


def test_of_two_writers_of_one_tree_both_end_well(storage: S3Storage, tmp_path: Path) -> None:
    together = threading.Barrier(2)

    def put(number: int) -> str:
        made = tmp_path / f"made-{number}"
        digest = write_tree(made, FILES)
        together.wait()
        try:
            storage.put(digest, made)
        except DirectoryTaken:
            return "taken"
        return "put"

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(put, range(2)))
    assert "put" in ends
    storage.verify(storage.keys()[0])


def test_a_taken_key_is_kept(storage: S3Storage, tmp_path: Path) -> None:
    digest, _ = _put(storage, tmp_path)
    write_tree(tmp_path / "again", FILES)
    with pytest.raises(DirectoryTaken):
        storage.put(digest, tmp_path / "again")


def test_a_deleted_tree_leaves_nothing_in_the_bucket(
    storage: S3Storage, bucket: Bucket, tmp_path: Path
) -> None:
    digest, _ = _put(storage, tmp_path)
    begun = bucket.client.create_multipart_upload(
        Bucket=bucket.name, Key=f"models/{digest}/model.safetensors"
    )
    storage.delete(digest)
    storage.delete(digest)
    assert bucket.keys() == []
    assert storage.keys() == []
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads") or []
    assert begun["UploadId"] not in [each["UploadId"] for each in uploads]


def test_what_a_dead_writer_left_is_listed_and_can_be_deleted(
    storage: S3Storage, bucket: Bucket
) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="models/abc/model.safetensors", Body=b"12345")
    assert (storage.keys(), storage.exists("abc")) == (["abc"], False)
    assert storage.size_bytes("abc") == 5
    storage.delete("abc")
    assert storage.keys() == []


def test_a_changed_object_is_not_handed_out(
    storage: S3Storage, settings: Settings, bucket: Bucket, tmp_path: Path
) -> None:
    digest, uri = _put(storage, tmp_path)
    changed = bytearray(FILES["model.safetensors"])
    changed[1000] ^= 1
    key = f"models/{digest}/model.safetensors"
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=bytes(changed))
    with pytest.raises(Damaged, match="has changed"):
        local_path(uri, settings)
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"short")
    with pytest.raises(Damaged):
        storage.verify(digest)
    assert [each for each in settings.model_cache_dir.iterdir() if each.is_dir()] == []


def test_processes_that_want_one_tree_fetch_it_once(
    storage: S3Storage, settings: Settings, tmp_path: Path
) -> None:
    _, uri = _put(storage, tmp_path)
    counts: list[list[int]] = [[] for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda count: local_path(uri, settings, count.append), counts))
    assert len(set(paths)) == 1
    assert [bool(count) for count in counts].count(True) == 1


def test_a_wrong_key_is_said_to_be_one(
    bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3_client.cache_clear()
    try:
        with pytest.raises(StorageDenied, match="check the key"):
            open_storage(settings).keys()
    finally:
        s3_client.cache_clear()


def test_a_missing_bucket_is_said_to_be_missing(settings: Settings) -> None:
    missing = settings.model_copy(update={"storage_url": "s3://bucket-that-is-not/x"})
    with pytest.raises(NotStored, match="no bucket"):
        open_storage(missing).keys()


def test_a_server_that_is_away_is_said_to_be_away(bucket: Bucket, settings: Settings) -> None:
    away = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    with pytest.raises(StorageAway, match="TAMER_S3_ENDPOINT"):
        open_storage(away).exists("abc")


@pytest.mark.parametrize(
    "uri", ["s3://", "s3://b", "s3://Bucket/x", "s3://bucket/../x", "s3://bucket/a//b", "file:///x"]
)
def test_a_uri_of_another_kind_is_refused(uri: str) -> None:
    with pytest.raises(BadKey):
        parse_s3(uri)
