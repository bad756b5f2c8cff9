from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Table, UniqueConstraint, inspect
from sqlalchemy.engine import Connection, Inspector

from control_plane.store.migrations.upgrade import downgrade, upgrade
from control_plane.store.session import Database
from control_plane.store.tables import Base
from infra.settings import Settings
from tests.control_plane.store.rows import add_replica


@pytest.fixture
async def migrated(empty_settings: Settings) -> AsyncIterator[Database]:
    """A store of its own: these tests change the schema."""
    await upgrade(empty_settings)
    opened = Database(empty_settings)
    yield opened
    await opened.close()


async def test_migrations_create_exactly_what_the_tables_say(migrated: Database) -> None:
    assert await _differences(migrated) == []


async def test_every_constraint_and_index_has_the_name_and_columns_that_the_tables_say(
    migrated: Database,
) -> None:
    """`compare_metadata` looks at no check constraint, no primary key and no condition."""

    def look(connection: Connection) -> dict[str, Any]:
        inspector = inspect(connection)
        return {name: _found(inspector, name) for name in Base.metadata.tables}

    async with migrated.engine.connect() as connection:
        found = await connection.run_sync(look)
    assert found == {name: _declared(table) for name, table in Base.metadata.tables.items()}


async def test_downgrade_to_base_leaves_no_table_of_ours(
    migrated: Database, empty_settings: Settings
) -> None:
    await downgrade(empty_settings)
    assert await _table_names(migrated) == {"alembic_version"}


async def test_downgrade_goes_through_rows_that_refer_to_each_other(
    migrated: Database, empty_settings: Settings
) -> None:
    async with migrated.transaction() as session:
        await add_replica(session)
    await downgrade(empty_settings)
    assert await _table_names(migrated) == {"alembic_version"}


async def test_upgrade_after_downgrade_restores_every_table(
    migrated: Database, empty_settings: Settings
) -> None:
    await downgrade(empty_settings)
    await upgrade(empty_settings)
    assert await _table_names(migrated) == {"alembic_version", *Base.metadata.tables}
    assert await _differences(migrated) == []


async def test_upgrading_again_changes_nothing(
    migrated: Database, empty_settings: Settings
) -> None:
    await upgrade(empty_settings)
    assert await _differences(migrated) == []


async def test_several_upgrades_at_once_all_succeed(empty_settings: Settings) -> None:
    await asyncio.gather(*(upgrade(empty_settings) for _ in range(4)))
    database = Database(empty_settings)
    assert await _differences(database) == []
    await database.close()


async def _differences(database: Database) -> list[Any]:
    def compare(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with database.engine.connect() as connection:
        return await connection.run_sync(compare)


async def _table_names(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda each: inspect(each).get_table_names()))


def _found(inspector: Inspector, table: str) -> dict[str, Any]:
    """Names, columns and conditions, as the database tells them."""
    unique = inspector.get_unique_constraints(table)
    return {
        "primary key": tuple(inspector.get_pk_constraint(table)["constrained_columns"]),
        "foreign keys": {
            (each["name"], tuple(each["constrained_columns"]), each["referred_table"])
            for each in inspector.get_foreign_keys(table)
        },
        "unique": {(each["name"], tuple(each["column_names"])) for each in unique},
        "checks": {each["name"] for each in inspector.get_check_constraints(table)},
        "indexes": {
            (
                each["name"],
                tuple(each["column_names"]),
                bool(each["unique"]),
                any("where" in option for option in each.get("dialect_options", {})),
            )
            for each in inspector.get_indexes(table)
            if "duplicates_constraint" not in each  # PostgreSQL lists its unique constraints twice
        },
    }


def _declared(table: Table) -> dict[str, Any]:
    def columns(of: Any) -> tuple[str, ...]:
        return tuple(each.name for each in of.columns)

    return {
        "primary key": columns(table.primary_key),
        "foreign keys": {
            (each.name, columns(each), each.referred_table.name)
            for each in table.constraints
            if isinstance(each, ForeignKeyConstraint)
        },
        "unique": {
            (each.name, columns(each))
            for each in table.constraints
            if isinstance(each, UniqueConstraint)
        },
        "checks": {each.name for each in table.constraints if isinstance(each, CheckConstraint)},
        "indexes": {
            (
                each.name,
                columns(each),
                each.unique,
                any(each.dialect_options[kind]["where"] is not None for kind in _KINDS),
            )
            for each in table.indexes
        },
    }


_KINDS = ("sqlite", "postgresql")
