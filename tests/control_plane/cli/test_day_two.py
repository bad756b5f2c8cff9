"""`scale`, `diff`, `watch`, `audit`, the formats, and the document that lists every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.cli.exits import ExitCode
from control_plane.cli.reference import commands, document
from tests.control_plane.cli.stub_answers import SPEC, Tamer, deployment, page
from tests.control_plane.cli.stub_server import StubServer

ROOT = Path(__file__).parents[3]
BALANCE = {"accepted": 3, "completed": 1, "failed": 0, "cancelled": 0, "expired": 0} | {
    "pending": 1,
    "missing": 1,
}
WRONG = {
    "revision_id": "rev-1",
    "deployment": "chat",
    "balance": BALANCE,
    "differences": [{"name": "queued", "counted": 1, "found": 0}],
    "holds": False,
}


def audited(*queues: dict[str, Any], holds: bool) -> tuple[int, Any]:
    return 200, {"queues": list(queues), "total": BALANCE, "holds": holds}


def test_scale_changes_the_bounds_and_nothing_else(tamer: Tamer, stub_server: StubServer) -> None:
    wanted = {**SPEC, "scaling": {"min_replicas": 1, "max_replicas": 4}}
    applied = {"deployment": deployment(spec=wanted, generation=2), "changed": True, "notes": []}
    stub_server.on("GET", "/deployments/chat", (200, deployment()))
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    code, out, _ = tamer("scale", "chat", "--max", "4")
    assert (code, out) == (0, "chat: changed (generation 2)\n  scaling.max_replicas: 2 -> 4\n")
    assert stub_server.requests[-1][3] == wanted


def test_scale_to_what_it_is_says_unchanged(tamer: Tamer, stub_server: StubServer) -> None:
    applied = {"deployment": deployment(), "changed": False, "notes": []}
    stub_server.on("GET", "/deployments/chat", (200, deployment()))
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    assert tamer("scale", "chat", "--min", "1")[:2] == (0, "chat: unchanged\n")


def test_scale_without_a_number_is_wrong_usage(tamer: Tamer, stub_server: StubServer) -> None:
    assert tamer("scale", "chat")[0] == ExitCode.USAGE
    assert stub_server.requests == []


ORDERED = deployment(override={"replicas": 3, "until": 1.0})


def test_a_number_for_a_while_is_ordered_and_the_bounds_stay(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("PUT", "/deployments/chat/override", (200, ORDERED))
    code, out, _ = tamer("scale", "chat", "3", "--for", "1h30m")
    assert code == 0
    assert out.startswith("chat: 3 replicas until 1970-01-01 ")
    assert stub_server.requests[-1][3] == {"replicas": 3, "seconds": 5400.0}


def test_an_order_is_shown_with_the_way_to_end_it(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("GET", "/deployments/chat", (200, ORDERED))
    stub_server.on("GET", "/deployments/chat/replicas", page())
    assert "ordered: 'tamer scale chat --auto' ends that" in tamer("status", "chat")[1]


def test_auto_ends_an_order(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("DELETE", "/deployments/chat/override", (200, deployment(override=None)))
    assert tamer("scale", "chat", "--auto")[:2] == (0, "chat: the autoscaler decides\n")


@pytest.mark.parametrize(
    "said",
    [
        ("3",),
        ("--for", "2h"),
        ("3", "--for", "soon"),
        ("3", "--for", "0s"),
        ("3", "--for", "2h", "--max", "4"),
        ("--auto", "--max", "4"),
    ],
)
def test_half_an_order_is_wrong_usage(
    tamer: Tamer, stub_server: StubServer, said: tuple[str, ...]
) -> None:
    assert tamer("scale", "chat", *said)[0] == ExitCode.USAGE
    assert stub_server.requests == []


def test_an_order_that_is_too_long_is_refused_with_what_has_no_end(tamer: Tamer) -> None:
    code, _, err = tamer("scale", "chat", "3", "--for", "31d")
    assert code == ExitCode.USAGE
    assert "at most 30d; 'tamer scale chat --min 3'" in err


@pytest.fixture
def chat_yaml(tmp_path: Path) -> str:
    path = tmp_path / "chat.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return str(path)


def test_diff_asks_for_a_dry_run_and_ends_with_1_where_something_differs(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    old = {**SPEC, "scaling": {"min_replicas": 0, "max_replicas": 2}}
    stub_server.on("GET", "/deployments/chat", (200, deployment(spec=old)))
    wanted = deployment(revision={"id": "rev-2"})
    answer = {"deployment": wanted, "changed": True, "notes": []}
    stub_server.on("PUT", "/deployments/chat", (200, answer))
    code, out, _ = tamer("diff", "-f", chat_yaml)
    assert code == ExitCode.FAILED
    assert out == (
        "chat: would change\n  scaling.min_replicas: 0 -> 1\n  revision: rev-1 -> rev-2\n"
    )
    assert stub_server.requests[-1][1].endswith("?dry_run=true")


def test_diff_of_the_same_file_ends_with_0(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    stub_server.on("GET", "/deployments/chat", (200, deployment()))
    answer = {"deployment": deployment(), "changed": False, "notes": []}
    stub_server.on("PUT", "/deployments/chat", (200, answer))
    assert tamer("diff", chat_yaml)[:2] == (0, "chat: same\n")


def test_diff_of_a_new_deployment_shows_every_field_that_it_would_have(
    tamer: Tamer, stub_server: StubServer, chat_yaml: str
) -> None:
    answer = {"deployment": deployment(), "changed": True, "notes": []}
    stub_server.on("PUT", "/deployments/chat", (200, answer))
    code, out, _ = tamer("diff", chat_yaml)
    assert code == ExitCode.FAILED
    assert out.startswith("chat: would be created\n")
    assert "  model: null -> smollm2\n" in out


def test_audit_names_the_queue_that_does_not_hold_and_ends_with_1(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("GET", "/audit", audited(WRONG, holds=False))
    code, out, err = tamer("audit")
    assert code == ExitCode.FAILED
    assert out.splitlines()[1].split()[0] == "rev-1"
    assert "rev-1 does not hold: 1 accepted jobs have no end" in err
    assert "the counter 'queued' says 1, there are 0" in err


def test_audit_of_queues_that_hold_ends_with_0(tamer: Tamer, stub_server: StubServer) -> None:
    sound = {**WRONG, "balance": {**BALANCE, "missing": 0}, "differences": [], "holds": True}
    stub_server.on("GET", "/audit", audited(sound, holds=True))
    assert tamer("audit")[0] == 0


def status(state: str, replicas: dict[str, int]) -> tuple[int, Any]:
    shown = {"name": "chat", "state": state, "reason": "", "replicas": replicas}
    bounds = {"target_replicas": 1, "min_replicas": 0, "max_replicas": 1}
    return 200, {"deployments": [shown | bounds], "instances": {}, "models": {}}


DECISION = {"kind": "scale", "reason": "demand", "formula": "1", "inputs": {}, "outcome": {}}


def follow(stub_server: StubServer) -> None:
    """Idle, then a decision and a replica, a server that is away for a moment, then gone."""
    old = {**DECISION, "id": "dec-1", "created_at": 1.0, "reason": "old"}
    new = {**DECISION, "id": "dec-2", "created_at": 2.0}
    stub_server.on("GET", "/deployments/chat/decisions", page(old), page(new, old))
    stub_server.on(
        "GET",
        "/status",
        status("idle", {}),
        status("deploying", {"loading": 1}),
        status("deploying", {"loading": 1}),
        (503, {"detail": "the store is away"}),
        (200, {"deployments": [], "instances": {}, "models": {}}),
    )


def test_watch_prints_each_change_and_decision_once_until_its_deployment_is_gone(
    tamer: Tamer, stub_server: StubServer
) -> None:
    follow(stub_server)
    code, out, err = tamer("watch", "chat", "--every", "0.05")
    assert code == 0
    told = [line.split("  ", 2)[2] for line in out.splitlines()]
    assert told[0] == "idle, no replicas, target 1"
    assert told[1] == "scale: demand: 1"
    assert told[2] == "deploying, 1 loading, target 1"
    assert told[3] == "deleted"
    assert len(told) == 4
    assert "still watching" in err


def test_watch_with_json_is_one_object_per_line(tamer: Tamer, stub_server: StubServer) -> None:
    follow(stub_server)
    _, out, _ = tamer("watch", "chat", "--every", "0.05", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [each["event"] for each in events] == ["deployment", "decision"] + ["deployment"] * 2


def test_watch_of_what_is_not_there_says_so(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("GET", "/status", (200, {"deployments": []}))
    assert tamer("watch", "chat")[0] == ExitCode.NOT_FOUND


@pytest.mark.parametrize("command", [("models", "list"), ("keys", "list")])
def test_every_format_says_the_same(
    tamer: Tamer, stub_server: StubServer, command: tuple[str, str]
) -> None:
    stub_server.on("GET", f"/{command[0]}", page())
    as_json = tamer(*command, "-o", "json")
    assert tamer(*command, "--json") == as_json == (0, "[]\n", "")
    code, out, _ = tamer(*command, "-o", "yaml")
    assert (code, yaml.safe_load(out)) == (0, [])
    assert tamer(*command, "-o", "table") == tamer(*command)


def test_yaml_keeps_the_order_and_the_letters_of_the_server(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("GET", "/models/x", (200, {"name": "größe", "a": 1}))
    assert tamer("models", "show", "x", "-o", "yaml")[1] == "name: größe\na: 1\n"


def test_two_formats_at_once_are_refused(tamer: Tamer) -> None:
    code, _, err = tamer("status", "--json", "-o", "yaml")
    assert code == ExitCode.USAGE
    assert len(err.splitlines()) == 1


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    program = "from control_plane.cli.main import main; main()"
    environment = {**os.environ, "TAMER_HOME": str(tmp_path), "COMP_WORDS": "tamer sca"}
    environment |= {"COMP_CWORD": "1", "_TAMER_COMPLETE": "complete_bash"}
    completed = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stdout.split() == ["scale"]


def test_the_document_lists_every_command_and_exit_code() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == document(), "run 'make docs'"
    assert all(said for _, said, _ in commands())
