"""A cell for each test."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from control_plane.store.session import Database
from infra.settings import Settings
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.market_cloud import MarketCloud
from tests.control_plane.controller.metered import Metered


@pytest.fixture
async def cell(store_settings: Settings, database: Database, valkey: Redis) -> Cell:
    settings = store_settings.model_copy(
        update={
            "instance_lost_s": 30.0,
            "join_limit_s": 30.0,
            "drain_limit_s": 0.5,
            "crash_wait_s": 0.01,
            "crash_limit": 3,
        }
    )
    return Cell(settings, database, valkey)


@pytest.fixture
async def metered(store_settings: Settings, database: Database, valkey: Redis) -> Metered:
    changes = {"cloud": "aws", "drain_limit_s": 0.5, "crash_wait_s": 0.01}
    settings = store_settings.model_copy(update=changes)
    return Metered(settings, database, valkey, MarketCloud())
