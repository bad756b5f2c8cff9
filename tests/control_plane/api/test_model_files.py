"""A machine that joined reads the files of the models that it must run, and no others."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from control_plane.store.repositories import machines
from control_plane.store.session import Database
from control_plane.store.tables import Model
from infra.keys import hash_secret
from infra.settings import Settings
from tests.control_plane.store.rows import add_deployment, add_model, add_replica
from tests.fixtures.database import on_sqlite_alone
from tests.infra.storage.tree_directory import write_tree

pytestmark = on_sqlite_alone

_CREDENTIAL = {"authorization": "Bearer of-a-machine"}
_WEIGHTS = bytes(range(256)) * 64


@pytest.fixture
def model_dir(settings: Settings) -> Path:
    return _stored(settings, _WEIGHTS)


def _stored(settings: Settings, weights: bytes) -> Path:
    """A model in the store, under its digest."""
    models = settings.home / "models"
    digest = write_tree(models / "draft", {"model.safetensors": weights})
    return (models / "draft").rename(models / digest)


@pytest.fixture
async def machine_with_model(app: FastAPI, store: Database, model_dir: Path) -> None:
    """A machine is here and must run the model of `model_dir`."""
    async with store.transaction() as session:
        machine = await machines.add(session, "spare", "unused", 60.0)
        machine.credential_hash = hash_secret("of-a-machine")
        instance = await machines.begin_instance(session, machine, "cpu", {"devices": ["cpu"]})
        model: Model = await add_model(session)
        model.digest, model.uri = model_dir.name, model_dir.as_uri()
        replica = await add_replica(session, await add_deployment(session, model))
        replica.instance_id = instance.id


@pytest.mark.usefixtures("machine_with_model")
async def test_a_machine_reads_whole_files_and_parts_of_what_it_must_run(
    anonymous: httpx.AsyncClient, model_dir: Path
) -> None:
    path = f"/api/v1/model-files/{model_dir.name}/model.safetensors"
    whole = await anonymous.get(path, headers=_CREDENTIAL)
    assert (whole.status_code, whole.content) == (200, _WEIGHTS)
    rest = await anonymous.get(path, headers={**_CREDENTIAL, "range": "bytes=1000-"})
    assert (rest.status_code, rest.content) == (206, _WEIGHTS[1000:])
    manifest = await anonymous.get(
        f"/api/v1/model-files/{model_dir.name}/manifest.json", headers=_CREDENTIAL
    )
    assert manifest.json()["digest"] == model_dir.name


@pytest.mark.usefixtures("machine_with_model")
@pytest.mark.parametrize("name", ["other.bin", "..%2f..%2fsecret.key", "%2e%2e"])
async def test_only_files_of_the_manifest_are_served(
    anonymous: httpx.AsyncClient, model_dir: Path, settings: Settings, name: str
) -> None:
    (model_dir / "other.bin").write_bytes(b"left here by somebody")
    (settings.home / "secret.key").write_text("secret")
    answer = await anonymous.get(
        f"/api/v1/model-files/{model_dir.name}/{name}", headers=_CREDENTIAL
    )
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.usefixtures("machine_with_model")
async def test_other_models_and_other_callers_are_refused(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, model_dir: Path, settings: Settings
) -> None:
    other = _stored(settings, b"another")
    path = f"/model-files/{other.name}/model.safetensors"
    assert (await anonymous.get("/api/v1" + path, headers=_CREDENTIAL)).status_code == 403
    own = f"/model-files/{model_dir.name}/model.safetensors"
    stranger = {"authorization": "Bearer of-a-stranger"}
    assert (await anonymous.get("/api/v1" + own, headers=stranger)).status_code == 401
    assert (await client.get(own)).status_code == 401, "an admin key is no machine"


@pytest.mark.usefixtures("machine_with_model")
async def test_a_machine_that_was_removed_reads_nothing(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, model_dir: Path
) -> None:
    [machine] = (await client.get("/machines")).json()["data"]
    assert (await client.delete(f"/machines/{machine['id']}")).status_code == 200
    path = f"/api/v1/model-files/{model_dir.name}/model.safetensors"
    assert (await anonymous.get(path, headers=_CREDENTIAL)).status_code == 401
