from __future__ import annotations

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from control_plane.store.migrations.upgrade import downgrade, upgrade
from control_plane.store.session import Database
from control_plane.store.tables import Base
from infra.settings import Settings


async def test_migrations_create_exactly_what_the_tables_say(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_downgrade_to_base_leaves_no_table_of_ours(
    database: Database, store_settings: Settings
) -> None:
    await downgrade(store_settings)
    async with database.engine.connect() as connection:
        names = await connection.run_sync(lambda each: inspect(each).get_table_names())
    assert names == ["alembic_version"]


async def test_upgrade_after_downgrade_restores_every_table(
    database: Database, store_settings: Settings
) -> None:
    await downgrade(store_settings)
    await upgrade(store_settings)
    async with database.engine.connect() as connection:
        names = await connection.run_sync(lambda each: inspect(each).get_table_names())
    assert set(Base.metadata.tables) < set(names)


async def test_several_upgrades_at_once_all_succeed(empty_settings: Settings) -> None:
    await asyncio.gather(*(upgrade(empty_settings) for _ in range(4)))
    database = Database(empty_settings)
    await database.check()
    await database.close()
