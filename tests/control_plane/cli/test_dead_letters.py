"""`tamer dead-letters`."""

from __future__ import annotations

from typing import Any

from tests.control_plane.cli.stub_answers import Tamer
from tests.control_plane.cli.stub_server import StubServer

LETTER: dict[str, Any] = {
    "job_id": "chatcmpl-1.0",
    "deployment": "chat",
    "revision_id": "rev-1",
    "tenant": "acme",
    "attempts": 4,
    "cause": "lease_expired rep-1",
    "durable": True,
    "accepted_at": 1_795_359_486.1,
    "ended_at": 1_795_359_497.2,
}


def test_a_list_says_what_happened_and_what_can_be_retried(
    tamer: Tamer, stub_server: StubServer
) -> None:
    interactive = {**LETTER, "job_id": "job-2.0", "durable": False}
    stub_server.on("GET", "/dead-letters", (200, {"data": [LETTER, interactive]}))
    code, out, _ = tamer("dead-letters", "list")
    assert code == 0
    first, second = [line for line in out.splitlines() if "acme" in line]
    assert "lease_expired rep-1" in first
    assert "possible" in first
    assert "client gone" in second


def test_a_retry_names_the_request_that_goes_on(tamer: Tamer, stub_server: StubServer) -> None:
    reply = {"job_id": "chatcmpl-1.0", "request_id": "chatcmpl-1"}
    stub_server.on("POST", "/dead-letters/chatcmpl-1.0/retry", (202, reply))
    code, out, _ = tamer("dead-letters", "retry", "chatcmpl-1.0")
    assert code == 0
    assert out.startswith("chatcmpl-1: goes on")


def test_a_refused_retry_ends_with_the_reason(tamer: Tamer, stub_server: StubServer) -> None:
    problem = {"title": "not-durable", "status": 409, "detail": "the client has gone"}
    stub_server.on("POST", "/dead-letters/job-2.0/retry", (409, problem))
    code, _, err = tamer("dead-letters", "retry", "job-2.0")
    assert code != 0
    assert "the client has gone" in err
