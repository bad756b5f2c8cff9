"""Bring the schema to the newest version (or to any other), whoever else is doing the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.engine import Connection

import control_plane.store.ledger_tables  # noqa: F401 - the rest of the tables
from control_plane.store.session import Database, StoreError
from infra.settings import Settings

_LOCK = 0x7A3E12
_SWITCH_LIMIT_S = 15.0


async def upgrade(settings: Settings, to: str = "head") -> None:
    """Run the migrations that are missing, in one transaction.

    Safe when several processes start at once: SQLite's write lock, or PostgreSQL's advisory lock,
    lets one go first, and the others then find nothing left to do.

    Raises:
        StoreError: the database URL is not one that the store knows.
    """
    await _migrate(settings, lambda config: command.upgrade(config, to))


async def downgrade(settings: Settings, to: str = "base") -> None:
    """Undo migrations; `base` leaves nothing but Alembic's own table."""
    await _migrate(settings, lambda config: command.downgrade(config, to))


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "control_plane.store:migrations")
    config.attributes["connection"] = connection
    return config


async def _migrate(settings: Settings, run: Callable[[Config], None]) -> None:
    database = Database(settings)
    try:
        if database.engine.dialect.name == "sqlite":
            await _write_ahead(str(database.engine.url.database))
        async with database.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await connection.run_sync(lambda each: run(configuration(each)))
    finally:
        await database.close()


async def _write_ahead(file: str) -> None:
    """Give SQLite its write-ahead log; the file remembers it.

    The switch needs the file to itself and does not wait for it, so it is tried until a deadline.
    """
    deadline = asyncio.get_running_loop().time() + _SWITCH_LIMIT_S
    while True:
        try:
            await asyncio.to_thread(_switch, file)
            return
        except sqlite3.OperationalError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise StoreError(f"{file}: {error}; is another program using it?") from error
        await asyncio.sleep(0.02)


def _switch(file: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
