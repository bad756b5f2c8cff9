from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.storage.base import BadKey, Damaged, DirectoryTaken, NotStored
from infra.storage.directory import DirectoryStorage, local_path, path_of, uri_of
from tests.infra.storage.tree_directory import write_tree

_HOLD_STAGING = """
import sys
from pathlib import Path
from infra.storage.directory import DirectoryStorage
with DirectoryStorage(Path(sys.argv[1])).staging() as path:
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def storage(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path / "models")


def _put(storage: DirectoryStorage, key: str, content: str = "weights") -> str:
    with storage.staging() as scratch:
        tree = scratch / "tree"
        tree.mkdir()
        (tree / "file").write_text(content)
        return storage.put(key, tree)


def test_a_stored_tree_is_found_by_its_uri(storage: DirectoryStorage) -> None:
    uri = _put(storage, "abc")
    assert uri.startswith("file:///")
    assert (local_path(uri) / "file").read_text() == "weights"
    assert storage.exists("abc")
    assert storage.keys() == ["abc"]


def test_a_uri_survives_odd_characters_in_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a b%20#?ü"
    path.mkdir()
    assert local_path(uri_of(path)) == path


def test_a_taken_key_keeps_its_first_tree(storage: DirectoryStorage) -> None:
    uri = _put(storage, "abc", "first")
    with pytest.raises(DirectoryTaken):
        _put(storage, "abc", "second")
    assert (local_path(uri) / "file").read_text() == "first"


def test_a_tree_from_another_place_is_moved_in(storage: DirectoryStorage, tmp_path: Path) -> None:
    tree = tmp_path / "elsewhere"
    tree.mkdir()
    (tree / "file").write_text("x")
    storage.put("group/abc", tree)
    assert not tree.exists()
    assert storage.exists("group/abc")


@pytest.mark.parametrize(
    "key", ["", "..", "../x", "a/../b", "/etc", "a//b", ".hidden", "a\0b", "a/."]
)
def test_a_key_cannot_climb_out(storage: DirectoryStorage, key: str) -> None:
    for use in (storage.exists, storage.uri, storage.delete):
        with pytest.raises(BadKey):
            use(key)


@pytest.mark.parametrize(
    "uri",
    [
        "/models/abc",
        "s3://bucket/abc",
        "file://host/abc",
        "file:///a/../b",
        "file:///a/%2e%2e/b",
        "file:relative",
        "file:///a?b",
        "file://[",
        "",
    ],
)
def test_a_uri_that_is_no_local_absolute_path_is_refused(uri: str) -> None:
    with pytest.raises(BadKey):
        path_of(uri)


def test_a_missing_tree_is_said_to_be_missing(storage: DirectoryStorage) -> None:
    assert not storage.exists("abc")
    assert storage.keys() == []
    storage.delete("abc")
    with pytest.raises(NotStored):
        local_path(storage.uri("abc"))
    with pytest.raises(NotStored):
        storage.verify("abc")
    assert storage.size_bytes("abc") == 0


def test_a_tree_is_held_against_its_manifest(storage: DirectoryStorage, tmp_path: Path) -> None:
    digest = write_tree(tmp_path / "tree", {"weights": b"12345"})
    storage.put(digest, tmp_path / "tree")
    storage.verify(digest)
    (storage.root / digest / "weights").write_bytes(b"12346")
    with pytest.raises(Damaged):
        storage.verify(digest)


def test_a_deleted_tree_leaves_nothing(storage: DirectoryStorage) -> None:
    _put(storage, "abc")
    storage.delete("abc")
    assert list(storage.root.iterdir()) == []


def test_staging_is_gone_after_an_error(storage: DirectoryStorage) -> None:
    with pytest.raises(ZeroDivisionError), storage.staging() as path:
        (path / "half").write_text("x")
        _ = 1 / 0
    assert list(storage.root.iterdir()) == []


def test_staging_of_a_killed_process_is_swept_and_of_a_living_one_kept(
    storage: DirectoryStorage,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD_STAGING, str(storage.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with storage.staging():
            assert theirs.is_dir()
        other.kill()
        other.wait()
        assert theirs.is_dir()
        with storage.staging():
            assert not theirs.exists()
