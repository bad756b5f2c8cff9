"""`hf://` sources against a stand-in for the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from control_plane.importer import download
from control_plane.importer.errors import (
    DownloadFailed,
    ImportRefused,
    NotAllowed,
    SourceMissing,
    Unsupported,
)
from control_plane.importer.model import ImportedModel, import_model
from control_plane.importer.source import Reach
from infra.storage.directory import local_path
from infra.storage.tree import verify_tree
from tests.control_plane.importer.tiny_model import packed_weights, weights
from tests.fixtures.hub_server import COMMIT, TOKEN, Hub

WEIGHTS = "model.safetensors"


@pytest.fixture
def reach(hub: Hub, tmp_path: Path) -> Reach:
    return Reach(tmp_path / "downloads", hub.endpoint)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def fetch(models_dir: Path, reach: Reach, source: str = "hf://org/tiny") -> ImportedModel:
    return import_model(source, models_dir, reach=reach)


def refused(models_dir: Path, reach: Reach, source: str = "hf://org/tiny") -> ImportRefused:
    with pytest.raises(ImportRefused) as caught:
        fetch(models_dir, reach, source)
    assert "\n" not in str(caught.value)
    assert not models_dir.exists() or list(models_dir.iterdir()) == []
    return caught.value


def test_a_repository_becomes_the_model_that_its_files_are(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach, tmp_path: Path
) -> None:
    hub.publish("org/tiny", directory)
    model = fetch(models_dir, reach)
    assert model.source == f"hf://org/tiny#{COMMIT}"
    assert model.digest == import_model(directory, tmp_path / "other").digest
    assert verify_tree(local_path(model.uri)).digest == model.digest
    assert list(reach.downloads_dir.iterdir()) == []


def test_a_recorded_commit_is_fetched_whatever_the_branch_says_now(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    hub.publish("org/tiny", directory).revisions = {COMMIT}
    recorded = f"hf://org/tiny@main#{COMMIT}"
    assert fetch(models_dir, reach, recorded).source == recorded


def test_only_what_a_model_needs_is_fetched(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    for name in ("pytorch_model.bin", "modeling.py", "tf_model.h5", "README.md"):
        (directory / name).write_bytes(b"code")
    shutil.copy(directory / WEIGHTS, directory / "consolidated.safetensors")
    hub.publish("org/tiny", directory)
    fetch(models_dir, reach)
    fetched = {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}
    assert fetched == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        WEIGHTS,
    }


def test_the_shards_of_an_index_are_fetched(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    whole = weights()
    (directory / WEIGHTS).unlink()
    names = [f"model-{number}-of-2.safetensors" for number in (1, 2)]
    weight_map = {}
    for number, name in enumerate(names):
        part = {key: whole[key] for key in list(whole)[number::2]}
        save_file(part, directory / name)
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.publish("org/tiny", directory)
    hub.faults.cuts = 2
    loaded = packed_weights(local_path(fetch(models_dir, reach).uri))
    assert loaded.keys() == whole.keys()


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    hub.publish("org/tiny", directory).private = True
    with_token = Reach(reach.downloads_dir, reach.hf_endpoint, TOKEN)
    assert fetch(models_dir, with_token).digest
    assert hub.sent_bytes[WEIGHTS] > 0
    assert not hub.cdn_saw_token


@pytest.mark.parametrize("fault", ["errors", "listing_errors", "cuts", "lies", "flips"])
def test_one_fault_of_each_kind_is_overcome(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach, fault: str
) -> None:
    hub.publish("org/tiny", directory)
    setattr(hub.faults, fault, 1)
    model = fetch(models_dir, reach)
    assert getattr(hub.faults, fault) == 0
    verify_tree(local_path(model.uri))


def test_a_cut_download_goes_on_where_it_broke_off(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    hub.publish("org/tiny", directory)
    hub.faults.cuts = 3
    fetch(models_dir, reach)
    assert hub.sent_bytes[WEIGHTS] == (directory / WEIGHTS).stat().st_size


def test_a_server_without_ranges_sends_all_of_it_again(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    hub.publish("org/tiny", directory)
    hub.faults.cuts, hub.faults.ignored_ranges = 1, 2
    told: list[tuple[str, int, int]] = []
    model = import_model("hf://org/tiny", models_dir, lambda *step: told.append(step), reach)
    verify_tree(local_path(model.uri))
    size = (directory / WEIGHTS).stat().st_size
    assert [step for step in told if step[0] == "download"][-1] == ("download", size, size)


def test_an_import_that_failed_goes_on_with_what_it_has(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    hub.publish("org/tiny", directory)

    class Stopped(Exception):
        pass

    def stop(phase: str, done_bytes: int, total_bytes: int) -> None:
        if phase == "download" and done_bytes == total_bytes:
            raise Stopped

    with pytest.raises(Stopped):
        import_model("hf://org/tiny", models_dir, stop, reach)
    fetch(models_dir, reach)
    assert hub.sent_bytes[WEIGHTS] == (directory / WEIGHTS).stat().st_size


def test_a_file_that_never_arrives_whole_is_given_up(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    hub.publish("org/tiny", directory)
    hub.faults.flips = 100
    error = refused(models_dir, reach)
    assert isinstance(error, DownloadFailed)
    assert "import it again" in str(error)


@pytest.mark.parametrize(
    ("token", "state", "kind", "words"),
    [
        ("", "gated", NotAllowed, "accept its terms at"),
        (TOKEN, "gated", NotAllowed, "accept its terms at"),
        ("", "private", SourceMissing, "set TAMER_HF_TOKEN"),
        ("", "missing", SourceMissing, "check the name"),
        (TOKEN, "missing", SourceMissing, "may not see it"),
        ("hf_wrong", "public", NotAllowed, "does not know the token"),
    ],
)
def test_what_may_not_be_read_is_refused_with_what_to_do(
    hub: Hub,
    directory: Path,
    models_dir: Path,
    reach: Reach,
    token: str,
    state: str,
    kind: type[ImportRefused],
    words: str,
) -> None:
    if state != "missing":
        repository = hub.publish("org/tiny", directory)
        repository.gated, repository.private = state == "gated", state == "private"
    error = refused(models_dir, Reach(reach.downloads_dir, reach.hf_endpoint, token))
    assert type(error) is kind
    assert words in str(error)
    assert token == "" or token not in str(error)


def test_an_unknown_revision_is_said_to_be_unknown(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    hub.publish("org/tiny", directory)
    assert "no revision 'v9'" in str(refused(models_dir, reach, "hf://org/tiny@v9"))


def test_a_hub_that_is_away_is_said_to_be_away(
    models_dir: Path, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    from control_plane.importer import hub as hub_module

    monkeypatch.setattr(hub_module, "_FIRST_PAUSE_S", 0.0)
    away = Reach(reach.downloads_dir, "http://127.0.0.1:9")
    assert "TAMER_HF_ENDPOINT" in str(refused(models_dir, away))


def test_a_model_that_cannot_be_served_is_refused_before_its_weights_come(
    hub: Hub, directory: Path, models_dir: Path, reach: Reach
) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    hub.publish("org/tiny", directory)
    assert isinstance(refused(models_dir, reach), Unsupported)
    assert hub.sent_bytes[WEIGHTS] == 0


def test_pickles_are_refused(hub: Hub, directory: Path, models_dir: Path, reach: Reach) -> None:
    (directory / WEIGHTS).rename(directory / "pytorch_model.bin")
    hub.publish("org/tiny", directory)
    assert "pickled" in str(refused(models_dir, reach))
    assert hub.sent_bytes["pytorch_model.bin"] == 0


@pytest.mark.parametrize(
    "source", ["hf://", "hf://tiny", "hf://org/a/b", "hf://org/..", "hf://o/m@"]
)
def test_a_name_that_is_none_is_refused(models_dir: Path, reach: Reach, source: str) -> None:
    assert "hf://ORG/MODEL" in str(refused(models_dir, reach, source))
