"""`s3://` sources, and S3 as the store, against a real server of that protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from control_plane.importer.errors import (
    DownloadFailed,
    ImportRefused,
    SourceMissing,
    Unsupported,
)
from control_plane.importer.model import import_model
from control_plane.importer.source import Reach
from infra.settings import Settings
from infra.storage.opening import local_path, open_storage
from infra.storage.tree import verify_tree
from tests.fixtures.s3_server import Bucket


@pytest.fixture
def reach(bucket: Bucket, tmp_path: Path) -> Reach:
    return Reach(tmp_path / "downloads", s3_endpoint=bucket.endpoint)


@pytest.fixture
def source(bucket: Bucket, directory: Path) -> str:
    """The sound model, uploaded with what must not be read."""
    for path in [*directory.iterdir(), directory / "code.py"]:
        body = path.read_bytes() if path.exists() else b"import os"
        bucket.client.put_object(Bucket=bucket.name, Key=f"team/tiny/{path.name}", Body=body)
    return f"{bucket.url}/team/tiny"


def test_a_folder_of_a_bucket_becomes_the_model_that_its_files_are(
    source: str, directory: Path, models_dir: Path, reach: Reach, tmp_path: Path
) -> None:
    told: list[str] = []
    model = import_model(source, models_dir, lambda phase, *_: told.append(phase), reach)
    assert model.source == source
    assert model.digest == import_model(directory, tmp_path / "other").digest
    verify_tree(models_dir / model.digest)
    assert list(dict.fromkeys(told)) == ["text files", "download", "weights"]
    assert list(reach.downloads_dir.iterdir()) == []


def test_a_model_goes_from_bucket_to_bucket(
    source: str, bucket: Bucket, reach: Reach, tmp_path: Path
) -> None:
    settings = Settings(
        home=tmp_path / "home", storage_url=f"{bucket.url}/store", s3_endpoint=bucket.endpoint
    )
    told: list[tuple[str, int, int]] = []
    model = import_model(source, open_storage(settings), lambda *step: told.append(step), reach)
    assert model.uri == f"{bucket.url}/store/{model.digest}"
    assert told[-1][0] == "store"
    assert verify_tree(local_path(model.uri, settings)).digest == model.digest
    assert import_model(source, open_storage(settings), reach=reach) == model
    assert list(settings.scratch_dir.iterdir()) == []


def test_a_damaged_model_in_a_bucket_is_mended_by_importing_again(
    source: str, bucket: Bucket, reach: Reach, tmp_path: Path
) -> None:
    settings = Settings(
        home=tmp_path / "home", storage_url=f"{bucket.url}/store", s3_endpoint=bucket.endpoint
    )
    storage = open_storage(settings)
    model = import_model(source, storage, reach=reach)
    key = f"store/{model.digest}/model.safetensors"
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    import_model(source, storage, reach=reach)
    verify_tree(local_path(model.uri, settings))


def test_an_empty_place_is_said_to_be_empty(bucket: Bucket, models_dir: Path, reach: Reach) -> None:
    for source in (f"{bucket.url}/nothing", "s3://bucket-that-is-not/x"):
        with pytest.raises(SourceMissing) as caught:
            import_model(source, models_dir, reach=reach)
        assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_served_is_refused_before_its_weights_come(
    source: str, bucket: Bucket, directory: Path, models_dir: Path, reach: Reach
) -> None:
    config = json.loads((directory / "config.json").read_text())
    body = json.dumps(config | {"architectures": ["BertModel"]}).encode()
    bucket.client.put_object(Bucket=bucket.name, Key="team/tiny/config.json", Body=body)
    with pytest.raises(Unsupported):
        import_model(source, models_dir, reach=reach)
    assert not list(reach.downloads_dir.glob("*/model.safetensors*"))


def test_an_s3_that_is_away_is_said_to_be_away(
    bucket: Bucket, models_dir: Path, tmp_path: Path
) -> None:
    away = Reach(tmp_path / "downloads", s3_endpoint="http://127.0.0.1:1")
    with pytest.raises(DownloadFailed, match="TAMER_S3_ENDPOINT"):
        import_model("s3://bucket/x", models_dir, reach=away)


def test_without_boto3_it_is_said_what_to_install(
    models_dir: Path, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(ImportRefused, match=r"pip install .*\[s3\]"):
        import_model("s3://bucket/x", models_dir, reach=reach)
