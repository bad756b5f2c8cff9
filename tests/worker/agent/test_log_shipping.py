"""Log lines reach Redis in order; too many of them, or a Redis that is away, hurt nobody."""

from __future__ import annotations

import logging

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from infra.connection import connect
from infra.log_stream import read_lines
from worker.agent.log_shipping import LogShipper, ShippingHandler


async def test_lines_arrive_in_order_under_their_subject(valkey: Redis) -> None:
    shipper = LogShipper(valkey)
    for i in range(5):
        shipper.put("one", f"line {i}")
    shipper.put("two", "other")
    await shipper.ship()
    assert (await read_lines(valkey, "one"))[0] == [f"line {i}" for i in range(5)]
    assert (await read_lines(valkey, "two"))[0] == ["other"]


async def test_a_flood_loses_its_oldest_lines_and_says_how_many(valkey: Redis) -> None:
    shipper = LogShipper(valkey)
    for i in range(2100):
        shipper.put("one", f"line {i}")
    await shipper.ship()
    lines = (await read_lines(valkey, "one", count=5000))[0]
    assert "(100 lines were lost before this one)" in lines
    assert lines[-1] == "line 2099"


async def test_lines_wait_while_redis_is_away(valkey: Redis) -> None:
    away = connect("redis://127.0.0.1:9")
    shipper = LogShipper(away)
    shipper.put("one", "patient")
    with pytest.raises(RedisConnectionError):
        await shipper.ship()
    await away.aclose()
    shipper._tokens = valkey
    await shipper.ship()
    assert (await read_lines(valkey, "one"))[0] == ["patient"]


async def test_a_record_is_shipped_under_the_replica_it_names_else_the_instance(
    valkey: Redis,
) -> None:
    shipper = LogShipper(valkey)
    handler = ShippingHandler(shipper, "instance")
    for message in ({"event": "loaded", "replica_id": "replica"}, "plain"):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, message, None, None))
    await shipper.ship()
    assert "loaded" in (await read_lines(valkey, "replica"))[0][0]
    assert (await read_lines(valkey, "instance"))[0] == ["plain"]
