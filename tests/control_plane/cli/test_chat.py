"""`tamer chat` against a server."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli.exits import ExitCode
from tests.control_plane.cli.stub_answers import Tamer, deployment, events
from tests.control_plane.cli.stub_server import StubServer


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


def test_who_waits_is_told_why_replicas_do_not_start(tamer: Tamer, stub_server: StubServer) -> None:
    body = b": waiting for a replica\n\n" * 3 + events(delta("ok", "stop"), USAGE)
    stub_server.on("POST", "/v1/chat/completions", (200, body + b"data: [DONE]\n\n"))
    failing = deployment("deploying", reason="starts that failed in a row: 1, the last: no memory")
    stub_server.on("GET", "/deployments/smollm2", (200, failing))
    code, out, err = tamer("chat", "smollm2", "hi")
    assert (code, out) == (0, "ok\n")
    assert err.count("(deploying: starts that failed in a row: 1, the last: no memory)") == 1


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
    refusal = {"error": {"message": "The prompt is too long", "code": "context_length_exceeded"}}
    stub_server.on("POST", "/v1/chat/completions", (400, refusal))
    code, _, err = tamer("chat", "x", "hi")
    assert code == ExitCode.REFUSED
    assert "The prompt is too long" in err


def test_an_unknown_deployment_is_said_as_by_every_command(
    tamer: Tamer, stub_server: StubServer
) -> None:
    refusal = {"error": {"message": "The model 'x' does not exist", "code": "model_not_found"}}
    stub_server.on("POST", "/v1/chat/completions", (404, refusal))
    code, _, err = tamer("chat", "x", "hi")
    assert code == ExitCode.NOT_FOUND
    assert err == "tamer: there is no deployment 'x'; 'tamer status' lists what there is\n"


@pytest.mark.parametrize("message", ["", "  "])
def test_an_empty_question_is_refused_like_none(
    tamer: Tamer, stub_server: StubServer, message: str
) -> None:
    code, _, err = tamer("chat", "smollm2", message)
    assert code == ExitCode.USAGE
    assert "nothing to ask" in err
    assert stub_server.requests == []


def test_a_note_on_a_terminal_does_not_go_into_the_middle_of_an_answer(
    stub_server: StubServer, tmp_path: Path
) -> None:
    body = events(delta("Par")) + b": still working\n\n" + events(delta("is.", "stop"), USAGE)
    stub_server.on("POST", "/v1/chat/completions", (200, body + b"data: [DONE]\n\n"))
    program = "from control_plane.cli.main import main; main()"
    environment = {"TAMER_HOME": str(tmp_path), "TAMER_URL": stub_server.url, "TERM": "dumb"}
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "wb") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "chat", "smollm2", "Capital of France?"],
            env={**os.environ, **environment},
            stdout=terminal,
            stderr=terminal,
        )
    with os.fdopen(ours, "rb", buffering=0) as screen:
        shown = b""
        with suppress(OSError):  # the other end was closed
            while piece := screen.read(4096):
                shown += piece
    assert process.wait() == 0
    lines = shown.decode().splitlines()
    assert lines[:3] == ["Par", "smollm2: still working", "is."]
    assert lines[3].startswith("2 tokens")


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
