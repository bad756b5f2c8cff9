"""Joining over real HTTP: who is let in, who is sent away, who tries again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.responses import Response

from infra.wire import WIRE_VERSION, JoinRequest
from tests.worker.agent.join_server import JoinServer
from worker.agent.join import JoinFailed, JoinRefused, join

REQUEST = JoinRequest("secret", WIRE_VERSION, "0.1.0", "host", ["cpu"], 1 << 30, 2)


@pytest.fixture
async def server() -> AsyncIterator[JoinServer]:
    async with JoinServer("redis://127.0.0.1:1").running() as server:
        server.instances["secret"] = "instance-a"
        yield server


async def test_a_good_token_is_granted_an_instance(server: JoinServer) -> None:
    grant = await join(server.url + "/", REQUEST, limit_s=5.0)
    assert grant.instance_id == "instance-a"
    assert server.requests == [REQUEST]


async def test_an_api_that_is_ill_is_asked_again(server: JoinServer) -> None:
    server.answers = [Response(status_code=503), Response(status_code=502)]
    grant = await join(server.url, REQUEST, limit_s=5.0)
    assert grant.instance_id == "instance-a"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "ask for another"), (409, "ask for another"), (422, "ask for another.*check TAMER_J")],
)
async def test_a_refusal_ends_it_at_once_and_says_what_to_do(
    server: JoinServer, status: int, said: str
) -> None:
    server.answers = [Response(b'{"detail": "used up: ask for another"}', status)]
    with pytest.raises(JoinRefused, match=said):
        await join(server.url, REQUEST, limit_s=5.0)
    assert len(server.requests) == 1


async def test_an_api_that_is_away_is_given_up_after_the_limit() -> None:
    with pytest.raises(JoinFailed, match=r"127\.0\.0\.1:9 within 0\.3 s"):
        await join("http://127.0.0.1:9", REQUEST, limit_s=0.3)


async def test_builds_too_far_apart_do_not_work_together(server: JoinServer) -> None:
    server.wire_version = WIRE_VERSION + 2
    with pytest.raises(JoinRefused, match="wire version"):
        await join(server.url, REQUEST, limit_s=5.0)


@pytest.mark.parametrize("url", ["ftp://host", "127.0.0.1:80", "http://host:port"])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(JoinRefused, match="TAMER_JOIN_URL"):
        await join(url, REQUEST, limit_s=5.0)


async def test_a_grant_that_cannot_be_read_is_refused(server: JoinServer) -> None:
    server.answers = [Response(b"<html>welcome</html>")]
    with pytest.raises(JoinRefused, match="cannot be read"):
        await join(server.url, REQUEST, limit_s=5.0)
