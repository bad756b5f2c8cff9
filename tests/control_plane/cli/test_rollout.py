"""`tamer rollout` and `tamer deploy --dry-run` against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli.exits import ExitCode
from tests.control_plane.cli.stub_answers import SPEC, Tamer, deployment
from tests.control_plane.cli.stub_server import StubServer

_PREVIEW = {
    "cloud": "aws",
    "machines": [{"instance_type": "g6.xlarge", "accelerator": "L4", "usd_per_hour": 0.805}],
    "usd_per_hour_at_min": 0.805,
    "usd_per_hour_at_max": 1.61,
    "cold_start": {"p50_s": 40.0, "p90_s": 95.5, "starts": 12},
    "rollout": {"strategy": "canary", "rollback_on": "slo", "steps": [5, 25, 100]},
}


def _rollout(state: str = "watching", **changed: Any) -> dict[str, Any]:
    return {
        "id": "rol-1",
        "from_revision_id": "rev-1",
        "to_revision_id": "rev-2",
        "from_spec": {"model": "old"},
        "state": state,
        "step": 1,
        "percent": 25,
        "promoted": False,
        "reason": "2 new replicas ready >= 2: 25 % of the traffic",
        "created_at": 1_700_000_000.0,
        "state_at": 1_700_000_060.0,
        "ended_at": None,
        **changed,
    }


@pytest.fixture
def chat_json(tmp_path: Path) -> str:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(SPEC))
    return str(path)


def test_status_tells_from_where_to_where_and_why(tamer: Tamer, stub_server: StubServer) -> None:
    spec = {**SPEC, "rollout": {"strategy": "canary", "rollback_on": "slo"}}
    stub_server.on("GET", "/deployments/chat/rollout", (200, _rollout()))
    stub_server.on("GET", "/deployments/chat", (200, deployment("updating", spec=spec)))
    code, out, _ = tamer("rollout", "status", "chat")
    assert code == 0
    assert "chat: canary, watches what it has shifted" in out
    assert "rev-1 (old)" in out
    assert "2, 25 % of the traffic" in out
    assert "slo, or where it does not start" in out


@pytest.mark.parametrize("word", ["promote", "abort"])
def test_its_owners_word_is_sent(tamer: Tamer, stub_server: StubServer, word: str) -> None:
    stub_server.on("POST", f"/deployments/chat/rollout/{word}", (200, _rollout()))
    code, out, _ = tamer("rollout", word, "chat")
    assert (code, out.split(":")[0]) == (0, "chat")


def test_waiting_for_a_revision_that_is_rolled_back_fails_with_the_reason(
    tamer: Tamer, stub_server: StubServer, chat_json: str
) -> None:
    applied = {
        "deployment": deployment("updating", revision={"id": "rev-2"}),
        "changed": True,
        "notes": [],
    }
    back = _rollout("rolled_back", reason="9 of 20 requests failed")
    stub_server.on("PUT", "/deployments/chat", (200, applied))
    stub_server.on("GET", "/deployments/chat", (200, deployment()))
    stub_server.on("GET", "/deployments/chat/rollout", (200, back))
    code, _, err = tamer("deploy", chat_json, "--wait")
    assert code == ExitCode.FAILED
    assert "9 of 20 requests failed" in err


def test_a_dry_run_of_a_json_file_tells_machines_prices_and_the_cold_start(
    tamer: Tamer, stub_server: StubServer, chat_json: str
) -> None:
    wanted = {"deployment": deployment(), "changed": True, "notes": [], "preview": _PREVIEW}
    stub_server.on("PUT", "/deployments/chat", (200, wanted))
    code, out, err = tamer("deploy", "--dry-run", chat_json)
    assert code == 0
    assert "chat: would be created" in out
    assert "g6.xlarge (L4), $0.805 an hour and replica" in out
    assert "$0.805 an hour at its least replicas, $1.61 at its most" in out
    assert "in 40 s (p50) to 95.5 s (p90), of 12 starts" in out
    assert "canary to 5, 25, 100 %, back on slo" in out
    assert "nothing was changed" in err
    assert [each[0] for each in stub_server.requests if each[0] == "PUT"] == ["PUT"]
    _, out, _ = tamer("deploy", "--dry-run", "--json", chat_json)
    assert json.loads(out)["preview"] == _PREVIEW


def test_status_tells_why_the_last_start_failed_while_nothing_runs(
    tamer: Tamer, stub_server: StubServer
) -> None:
    ended = {"id": "rep-9", "state": "failed", "reason": "out of memory"}
    empty = (200, {"data": [], "next_cursor": None})
    stub_server.on("GET", "/deployments/chat", (200, deployment("deploying")))
    last = (200, {"data": [ended], "next_cursor": None})
    stub_server.on("GET", "/deployments/chat/replicas", empty, last)
    _, _, err = tamer("status", "chat")
    assert "rep-9, is failed: out of memory" in err
