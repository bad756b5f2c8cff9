"""`tamer deploy` against a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from control_plane.cli.exits import ExitCode
from infra.names import NAME_RULE
from tests.control_plane.cli.stub_answers import SPEC, Tamer, deployment, page, replica
from tests.control_plane.cli.stub_server import StubServer


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
    stub_server.on("GET", "/deployments/chat/replicas", page(replica()))
    code, out, err = tamer("deploy", "-f", chat_yaml, "--wait")
    assert code == 0
    assert out.endswith("chat: ready\n")
    assert "deploying (0 of 1)" in err


def test_deploy_waits_for_the_replicas_that_it_must_have(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    """The first that serves makes a deployment ready."""
    two = {**SPEC, "scaling": {"min_replicas": 2, "max_replicas": 2}}
    applied = {"deployment": deployment(spec=two), "changed": True, "notes": []}
    some = deployment(spec=two, target_replicas=2, reason="1 of 2 replicas ready")
    all_of_them = deployment(spec=two, target_replicas=2)
    before = (200, deployment())
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    stub_server.on("GET", "/deployments/chat", before, (200, some), (200, all_of_them))
    first, both = page(replica(), replica("loading")), page(replica(), replica())
    stub_server.on("GET", "/deployments/chat/replicas", first, both)
    code, _, err = tamer("deploy", "-f", chat_yaml, "--wait")
    assert code == 0
    assert "1 of 2 replicas ready" in err


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
        ("model: x\n", ":1: 'name' is missing"),
        ("name: chat\n", ":1: 'model' is missing"),
        ("name: chat\nmodel:\n", ":2: 'model' is missing"),
        ("model: x\nname: 7\n", ":2: 'name' must be a text"),
        ("model: x\nname: My Chat\n", f":2: 'name' {NAME_RULE}"),
        ("model: x\nname: ../keys\n", f":2: 'name' {NAME_RULE}"),
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
