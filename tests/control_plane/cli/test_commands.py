"""The command line against a server: how it finds it, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli.exits import ExitCode
from control_plane.cli.screen import when
from infra.build import build_name
from tests.control_plane.cli.stub_answers import Tamer, deployment, page
from tests.control_plane.cli.stub_server import StubServer


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
    assert "instances 2 joined" in err


def test_a_long_reason_does_not_fill_the_other_rows_with_spaces(
    tamer: Tamer, stub_server: StubServer
) -> None:
    [chat] = STATUS["deployments"]
    failed = {**chat, "name": "broken", "reason": "no memory " * 30}
    stub_server.on("GET", "/status", (200, {**STATUS, "deployments": [chat, failed]}))
    _, out, _ = tamer("status")
    header, row, long_row = out.splitlines()
    assert len(long_row) > 300
    assert [line for line in (header, row) if line != line.rstrip() or len(line) > 120] == []


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
    crashed = "0 of 1 replicas ready; starts that failed in a row: 2, the last: no such option"
    stub_server.on("GET", "/deployments/chat", (200, deployment("deploying", reason=crashed)))
    now = {"target_replicas": 1, "reason": "at_max", "formula": "1 of 9", "inputs": {"kept": 4}}
    stub_server.on("GET", "/deployments/chat/reason", (200, {"now": now}), (200, {"now": None}))
    code, out, _ = tamer("explain", "chat")
    assert code == 0
    assert "now 1 replicas: at_max\n    formula  1 of 9\n    inputs   kept=4\n" in out
    assert "replicas: at_max" not in tamer("explain", "chat")[1]
    assert out.splitlines()[-1] == f"now deploying: {crashed}"
    assert out.index("scale: idle") < out.index("scale: demand")
    for part in ("ceil(3 / 32) = 1", "pending_jobs=3", "idle_s=0.1235", "target_replicas=1"):
        assert part in out


def test_cold_starts_show_where_the_time_went(tamer: Tamer, stub_server: StubServer) -> None:
    start = {
        "created_at": 2.0,
        "replica_id": "rep-1",
        "wakes": 0,
        "standby": True,
        "outcome": "ready",
        "reason": "",
        "tier": "disk",
        "bytes_by_tier": {"disk": 269_000_000},
        "instance_type": "g5.xlarge",
        "zone": "a",
        "usd": 0.0125,
        "phases_s": {"decide": 0.5, "load": 1.25},
    }
    failed = {**start, "outcome": "failed", "reason": "no memory", "replica_id": "rep-2"}
    stub_server.on("GET", "/deployments/chat/cold-starts", page(failed, start))
    code, out, err = tamer("explain", "chat", "--cold-starts")
    assert code == 0
    head, first, second = out.splitlines()
    assert head.split()[:5] == ["WHEN", "START", "SECONDS", "DECIDE", "LAUNCH"]
    for part in ("standby", "1.750", "0.500", "1.250", "disk (269.0 MB)", "g5.xlarge a", "0.0125"):
        assert part in first
    assert "standby, failed" in second
    assert "rep-2 failed: no memory" in err


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


LOGGED = {
    "state": "ready",
    "reason": "all is well",
    "event": "replica state",
    "level": "info",
    "timestamp": "2026-11-22T13:17:49.623521Z",
}


def _log(stub_server: StubServer, *lines: str) -> None:
    stub_server.on("GET", "/deployments/chat", (200, deployment()))
    stub_server.on("GET", "/deployments/chat/replicas", page({"id": "rep-1"}))
    pages = [(200, {"lines": each, "next": "1-0"}) for each in (list(lines), [])]
    stub_server.on("GET", "/replicas/rep-1/logs", *pages)


def test_logs_are_lines_for_people_and_raw_lines_stay_raw(
    tamer: Tamer, stub_server: StubServer
) -> None:
    at = when(datetime.fromisoformat(LOGGED["timestamp"]).timestamp())
    failed = {**LOGGED, "level": "error", "exception": "Traceback:\n  no memory"}
    _log(stub_server, json.dumps(LOGGED), "Segmentation fault", "[1]", "{", json.dumps(failed))
    _, out, _ = tamer("logs", "chat")
    assert out.splitlines() == [
        f'{at} info    replica state state=ready reason="all is well"',
        "Segmentation fault",
        "[1]",
        "{",
        f'{at} error   replica state state=ready reason="all is well"',
        "Traceback:",
        "  no memory",
    ]


def test_logs_as_json_are_one_parsed_object_a_line(tamer: Tamer, stub_server: StubServer) -> None:
    _log(stub_server, json.dumps(LOGGED), "Segmentation fault")
    _, out, _ = tamer("logs", "chat", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"replica": "rep-1", **LOGGED},
        {"replica": "rep-1", "line": "Segmentation fault"},
    ]


def test_version_is_that_of_the_installation(tamer: Tamer) -> None:
    assert tamer("--version") == (0, f"tamer {build_name()}\n", "")


@pytest.mark.parametrize("written", [True, False])
def test_a_refused_key_that_no_variable_gave_points_to_the_home(
    tamer: Tamer,
    stub_server: StubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: bool,
) -> None:
    monkeypatch.delenv("TAMER_API_KEY")
    if written:
        of_another_home = {"url": stub_server.url, "key": "old"}
        (tmp_path / "credentials").write_text(json.dumps(of_another_home))
    stub_server.on("GET", "/models", (401, {"detail": "no"}))
    code, _, err = tamer("models", "list")
    assert code == ExitCode.REFUSED
    assert "TAMER_HOME" in err
    assert str(tmp_path / "credentials") in err


def test_a_broken_connection_is_said_without_names_of_our_code(
    tamer: Tamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("TAMER_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        code, _, err = tamer("status")
        thread.join()
    assert code == ExitCode.UNREACHABLE
    assert "the connection to" in err
    assert "Error" not in err


def test_a_terminal_is_not_driven_by_what_a_server_says(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("GET", "/status", (503, {"detail": "\x1b]0;owned\x07 away"}))
    assert "\x1b" not in tamer("status")[2]


def test_down_of_a_name_deletes_it_and_may_wait(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("DELETE", "/deployments/chat", (202, deployment("deleting")))
    assert tamer("down", "chat")[:2] == (0, "chat: deleting\n")
    stub_server.on("GET", "/deployments/chat", (200, deployment("deleting")), (404, {}))
    assert tamer("down", "chat", "--wait")[:2] == (0, "chat: deleted\n")


def test_down_without_an_up_says_so(tamer: Tamer) -> None:
    code, _, err = tamer("down")
    assert code == ExitCode.NOT_FOUND
    assert "nothing to stop" in err


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


@pytest.mark.parametrize("command", ["status", "doctor", "up", "down"])
def test_a_broken_settings_file_is_one_line_and_wrong_usage(
    tamer: Tamer, tmp_path: Path, command: str
) -> None:
    (tmp_path / "tamer.toml").write_text("port = \n")
    code, _, said = tamer(command)
    assert code == ExitCode.USAGE
    assert said.startswith(f"tamer: {tmp_path}/tamer.toml: ")
    assert len(said.splitlines()) == 1
