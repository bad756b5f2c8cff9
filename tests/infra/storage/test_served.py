"""Models over HTTP: what breaks off goes on, what is wrong is not kept, what is refused is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.storage import served
from infra.storage.base import Damaged, NotStored, StorageAway, StorageDenied
from infra.storage.served import ServedTrees, served_digest, served_uri
from infra.storage.tree_cache import cached
from tests.infra.storage.tree_directory import write_tree

_CREDENTIAL = "of-a-machine"
_WEIGHTS = bytes(range(256)) * 4096


class FileServer:
    """Serves a folder as the API does; `break_after_bytes` closes each connection so early."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.break_after_bytes = 1 << 30
        self.answers_s: list[int] = []
        """Statuses that come before anything is served."""
        self.ranges: list[str | None] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def trees(self) -> ServedTrees:
        return ServedTrees(f"http://127.0.0.1:{self._http.server_port}/", _CREDENTIAL)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = outer.folder / self.path.removeprefix(served.PATH + "/")
                allowed = self.headers["authorization"] == f"Bearer {_CREDENTIAL}"
                early = outer.answers_s.pop(0) if outer.answers_s else 0
                if early or not allowed or not path.is_file():
                    self.send_error(early or (404 if allowed else 403))
                    return
                wanted = self.headers["range"]
                outer.ranges.append(wanted)
                first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
                whole = path.read_bytes()
                body = whole[int(first) : int(last) + 1 if last else None]
                self.send_response(206 if wanted else 200)
                if wanted:
                    place = f"bytes {first}-{int(first) + len(body) - 1}/{len(whole)}"
                    self.send_header("content-range", place)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.break_after_bytes])

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    server = FileServer(tmp_path / "served")
    yield server
    server.close()


@pytest.fixture
def digest(server: FileServer) -> str:
    draft = server.folder / "draft"
    digest = write_tree(draft, {"model.safetensors": _WEIGHTS, "config.json": b"{}"})
    draft.rename(server.folder / digest)
    return digest


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_FIRST_PAUSE_S", 0.001)


def test_its_uri_names_a_digest_and_no_other_uri_does() -> None:
    assert served_digest(served_uri("abc123")) == "abc123"
    for other in ("file:///models/abc", "tamer://models/", "tamer://models/a/b", "s3://models/a"):
        assert served_digest(other) is None


def test_a_tree_is_fetched_once_and_counted(
    server: FileServer, digest: str, tmp_path: Path
) -> None:
    moved: list[int] = []
    for _ in range(2):
        folder = cached(server.trees, digest, tmp_path / "cache", moved.append)
    assert (folder / "model.safetensors").read_bytes() == _WEIGHTS
    manifest_bytes = (folder / "manifest.json").stat().st_size
    assert sum(moved) == len(_WEIGHTS) + len(b"{}") + manifest_bytes


def test_a_transfer_that_breaks_again_and_again_goes_on_where_it_broke(
    server: FileServer, digest: str, tmp_path: Path
) -> None:
    server.break_after_bytes = len(_WEIGHTS) // 10
    folder = cached(server.trees, digest, tmp_path / "cache")
    assert (folder / "model.safetensors").read_bytes() == _WEIGHTS
    assert f"bytes={len(_WEIGHTS) // 10}-" in server.ranges


def test_an_api_that_is_ill_for_a_moment_is_asked_again(
    server: FileServer, digest: str, tmp_path: Path
) -> None:
    server.answers_s = [503, 502]
    assert (cached(server.trees, digest, tmp_path / "cache") / "config.json").is_file()


def test_an_api_that_stays_away_is_given_up_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StorageAway, match=r"127\.0\.0\.1:9 does not serve manifest\.json"):
        ServedTrees("http://127.0.0.1:9", _CREDENTIAL).manifest("abc")


def test_parts_of_a_file_are_read_where_they_are_wanted(server: FileServer, digest: str) -> None:
    file = server.trees.open(digest, "model.safetensors", len(_WEIGHTS))
    found = bytearray(5000)
    for begin in (0, 70_000, len(_WEIGHTS) - 5000):
        file.read(begin, memoryview(found))
        assert found == _WEIGHTS[begin : begin + 5000]
    server.answers_s = [403]
    with pytest.raises(StorageDenied, match=digest):
        file.read(0, memoryview(found))
    file.close()


def test_refusals_are_told_apart(server: FileServer, digest: str) -> None:
    with pytest.raises(NotStored, match="import the model again"):
        server.trees.manifest("another")
    server.answers_s = [401]
    with pytest.raises(StorageDenied, match=digest):
        server.trees.manifest(digest)


def test_what_came_changed_is_not_kept(server: FileServer, digest: str, tmp_path: Path) -> None:
    (server.folder / digest / "config.json").write_bytes(b"[]")
    with pytest.raises(Damaged):
        cached(server.trees, digest, tmp_path / "cache")
    assert not (tmp_path / "cache" / digest).exists()
