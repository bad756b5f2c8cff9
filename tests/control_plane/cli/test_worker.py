"""`tamer worker token|list|remove` against a server."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from control_plane.cli import worker
from control_plane.cli.exits import ExitCode
from tests.control_plane.cli.stub_answers import Tamer, page
from tests.control_plane.cli.stub_server import StubServer


def machine(id: str, name: str, state: str = "joined", **changed: Any) -> dict[str, Any]:
    instance = {
        "id": f"ins-{id}",
        "state": state,
        "reason": "silent for 10 s" if state == "terminated" else "",
        "capabilities": {"devices": ["cuda:0", "cuda:1"]},
        "joined_at": 1.0,
        "ended_at": 2.0 if state == "terminated" else None,
    }
    plain = {"id": id, "name": name, "created_at": 0.0, "joins_until": None, "instance": instance}
    return {**plain, **changed}


INVITED = machine("mac-2", "", joins_until=9.0, instance=None)


def test_a_token_is_printed_as_the_line_to_type(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("POST", "/machines", (201, {**INVITED, "token": "join_a-b"}))
    code, out, err = tamer("worker", "token", "--name", "spare", "--url", "https://host.example")
    assert code == 0
    assert shlex.split(out) == [
        *("tamer", "worker", "join"),
        *("--url", "https://host.example", "--token", "join_a-b"),
    ]
    assert "good once" in err
    assert stub_server.requests[-1][3] == {"name": "spare"}


@pytest.mark.parametrize("address", ["10.1.2.3", None])
def test_a_server_on_this_machine_is_named_as_others_see_it(
    tamer: Tamer, stub_server: StubServer, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.setattr(worker, "outward_address", lambda: address)
    stub_server.on("POST", "/machines", (201, {**INVITED, "token": "join_a-b"}))
    code, out, err = tamer("worker", "token")
    assert code == 0
    assert f"http://{address or '127.0.0.1'}:" in out
    assert "--url" in err


def test_no_token_where_the_queue_cannot_be_reached(tamer: Tamer, stub_server: StubServer) -> None:
    stub_server.on("POST", "/machines", (409, {"detail": "set TAMER_EMBEDDED_PORT"}))
    code, out, err = tamer("worker", "token")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert "TAMER_EMBEDDED_PORT" in err


def test_the_list_tells_who_is_here_who_is_away_and_who_is_invited(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on(
        "GET",
        "/machines",
        page(machine("mac-1", "spare"), machine("mac-3", "desk", "terminated"), INVITED),
    )
    stub_server.on("GET", "/replicas", page({"instance_id": "ins-mac-1", "deployment": "chat"}))
    code, out, _ = tamer("worker", "list")
    assert code == 0
    here, away, invited = (line.split() for line in out.splitlines()[1:])
    assert here[:3] == ["mac-1", "spare", "joined"] and "chat" in here
    assert away[:3] == ["mac-3", "desk", "away"] and "silent" in away
    assert invited[:3] == ["mac-2", "-", "invited"]
    code, out, _ = tamer("worker", "list", "-o", "json")
    assert [each["id"] for each in json.loads(out)] == ["mac-1", "mac-3", "mac-2"]


def test_a_machine_is_removed_by_id_or_by_its_only_name(
    tamer: Tamer, stub_server: StubServer
) -> None:
    stub_server.on("GET", "/machines", page(machine("mac-1", "spare"), machine("mac-3", "desk")))
    stub_server.on("DELETE", "/machines/mac-1", (200, machine("mac-1", "spare", "draining")))
    for wanted in ("mac-1", "spare"):
        code, out, _ = tamer("worker", "remove", wanted)
        assert (code, out) == (0, "spare: removed once it has finished what it runs\n")
    assert tamer("worker", "remove", "nobody")[0] == ExitCode.NOT_FOUND
    stub_server.on("GET", "/machines", page(machine("mac-1", "spare"), machine("mac-3", "spare")))
    code, _, err = tamer("worker", "remove", "spare")
    assert code == ExitCode.USAGE
    assert "mac-1, mac-3" in err
