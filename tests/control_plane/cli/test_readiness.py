"""`tamer up` waits for `/readyz`, and says what that says."""

from __future__ import annotations

import pytest

from control_plane.cli.up.readiness import NotReady, wait_until_ready
from tests.control_plane.cli.stub_server import Reply, StubServer

NOT_HEARD = {"error": {"message": "The gateway has not heard from its controller yet."}}
REDIS_AWAY: Reply = (
    503,
    {"api": {"detail": "the jobs Redis (TAMER_JOBS_URL) does not answer"}, "gateway": NOT_HEARD},
)
NOT_YET: Reply = (503, {"api": {"status": "ready"}, "gateway": NOT_HEARD})
READY: Reply = (200, {"api": {"status": "ready"}, "gateway": {"status": "ok"}})


def all_run() -> None:
    """No program has ended."""


async def said_of(
    server: StubServer, *replies: Reply, limit_s: float, silent_s: float
) -> list[str]:
    server.answers[("GET", "/readyz")] = list(replies)
    said: list[str] = []
    await wait_until_ready(server.url, all_run, said.append, limit_s, silent_s)
    return said


async def test_a_long_start_says_once_what_it_waits_for(stub_server: StubServer) -> None:
    replies = (REDIS_AWAY, REDIS_AWAY, NOT_YET, NOT_YET, READY)
    assert await said_of(stub_server, *replies, limit_s=60.0, silent_s=0.0) == [
        "waiting for the platform to be ready: the jobs Redis (TAMER_JOBS_URL) does not answer; "
        "The gateway has not heard from its controller yet",
        "waiting for the platform to be ready: The gateway has not heard from its controller yet",
    ]


async def test_a_short_start_is_silent(stub_server: StubServer) -> None:
    assert not await said_of(stub_server, NOT_YET, READY, limit_s=60.0, silent_s=60.0)


async def test_a_start_that_is_given_up_ends_with_the_reason(stub_server: StubServer) -> None:
    with pytest.raises(NotReady, match=r"the jobs Redis \(TAMER_JOBS_URL\) does not answer"):
        await said_of(stub_server, REDIS_AWAY, limit_s=0.0, silent_s=0.0)
