"""`tamer rollout` and `tamer deploy --dry-run` against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli.exits import ExitCode
from tests.control_plane.cli.stub_answers import SPEC, Tamer, deployment, page, replica
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
        "from_replicas": {"draining": 1, "ready": 3},
        "to_replicas": {"loading": 1, "ready": 1},
        "promoted": False,
        "reason": "25 % of the traffic; new replicas ready: 2, needed: 2",
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
    assert "rev-1 (old), 3 ready, 1 draining" in out
    assert "rev-2, 1 ready, 1 loading" in out
    assert "2, 25 % of the traffic" in out
    assert "slo, or where it does not start" in out


@pytest.mark.parametrize(("percent", "told"), [(25, True), (0, False)])
def test_status_tells_that_an_abort_is_on_its_way(
    tamer: Tamer, stub_server: StubServer, percent: int, told: bool
) -> None:
    ended = _rollout("aborted", percent=percent, to_replicas={}, ended_at=1_700_000_090.0)
    stub_server.on("GET", "/deployments/chat/rollout", (200, ended))
    spec = {**SPEC, "rollout": {"strategy": "canary", "rollback_on": "slo"}}
    back = deployment("updating", spec=spec, reason="1 of 2 replicas ready")
    stub_server.on("GET", "/deployments/chat", (200, back))
    _, out, _ = tamer("rollout", "status", "chat")
    assert "rev-2, no replicas" in out
    assert ("until the old revision has its replicas" in out) == told
    assert ("1 of 2 replicas ready" in out) == told


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


def test_what_was_ready_before_is_not_what_is_waited_for(
    tamer: Tamer, stub_server: StubServer, chat_json: str
) -> None:
    """Until the controller has looked, the state is that of the old revision."""
    new = deployment(revision={"id": "rev-2"})
    begun, watched = _rollout("preparing"), _rollout("watching")
    stub_server.on("PUT", "/deployments/chat", (200, {"deployment": new, "changed": True}))
    stub_server.on("GET", "/deployments/chat", (200, new))
    stub_server.on(
        "GET",
        "/deployments/chat/rollout",
        (200, begun),
        (200, watched),
        (200, _rollout("finished", ended_at=1_700_000_090.0)),
    )
    stub_server.on("GET", "/deployments/chat/replicas", page(replica(revision_id="rev-2")))
    code, out, err = tamer("deploy", chat_json, "--wait")
    assert (code, out.splitlines()[-1], err) == (0, "chat: ready", "")
    assert stub_server.answers[("GET", "/api/v1/deployments/chat/rollout")][1:] == []


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


def test_a_dry_run_tells_how_long_a_budget_lasts_that_its_least_replicas_spend(
    tamer: Tamer, stub_server: StubServer, chat_json: str
) -> None:
    def out(**budget: float | None) -> str:
        wanted = deployment(spec={**SPEC, "budget": budget})
        answer = {"deployment": wanted, "changed": True, "notes": [], "preview": _PREVIEW}
        stub_server.on("PUT", "/deployments/chat", (200, answer))
        return tamer("deploy", "--dry-run", chat_json)[1]

    assert "$5 a day lasts its least replicas 6.21 h" in out(usd_per_day=5.0)
    assert "lasts" not in out(usd_per_day=20.0, usd_per_month=None)


def test_a_dry_run_tells_that_devices_share_a_machine(
    tamer: Tamer, stub_server: StubServer, chat_json: str
) -> None:
    machine = {"instance_type": "p4d.24xlarge", "accelerator": "A100", "usd_per_hour": 3.0}
    preview = {**_PREVIEW, "machines": [{**machine, "devices": 8}]}
    answer = {"deployment": deployment(), "changed": True, "notes": [], "preview": preview}
    stub_server.on("PUT", "/deployments/chat", (200, answer))
    _, out, _ = tamer("deploy", "--dry-run", chat_json)
    assert "$3 an hour and replica (8 share a machine of $24)" in out


def test_status_tells_which_replicas_are_of_the_earlier_revision(
    tamer: Tamer, stub_server: StubServer
) -> None:
    def row(id: str, revision_id: str) -> dict[str, Any]:
        more = {"id": id, "instance_id": "ins-1", "created_at": 1.0, "reason": ""}
        return {**replica(revision_id=revision_id), **more}

    stub_server.on("GET", "/deployments/chat", (200, deployment(revision={"id": "rev-2"})))
    stub_server.on("GET", "/deployments/chat/replicas", page(row("b", "rev-2"), row("a", "rev-1")))
    lines = tamer("status", "chat")[1].splitlines()
    assert [line.split()[:3] for line in lines[-2:]] == [
        ["b", "ready", "present"],
        ["a", "ready", "earlier"],
    ]


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
