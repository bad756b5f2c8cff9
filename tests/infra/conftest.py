"""Rooms that speak to Redis are tested on one server and on a cluster."""

from __future__ import annotations

import pytest

from infra.connection import RedisClient


@pytest.fixture(params=["server", "cluster"])
def each_redis(request: pytest.FixtureRequest) -> RedisClient:
    """A client of an empty server, then of an empty cluster."""
    name = "valkey" if request.param == "server" else "valkey_cluster"
    client: RedisClient = request.getfixturevalue(name)
    return client
