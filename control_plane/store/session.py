"""Sessions of the store, on SQLite (one machine) or PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from infra.settings import Settings

_BUSY_LIMIT_S = 15.0
"""How long a SQLite transaction waits for another writer."""
_READ_ONLY = "tamer_read_only"


class StoreError(RuntimeError):
    """The store cannot be used as configured; the message says what to change."""


class Database:
    """The engine of one process and its two kinds of session.

    Nothing here commits in the middle: a transaction is committed when its block ends well, and
    rolled back when it does not. No network call belongs inside either block.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises StoreError: the URL names no database that the store knows."""
        self.engine = _engine(settings.database)
        self._writing = async_sessionmaker(self.engine, expire_on_commit=False)
        self._reading = async_sessionmaker(
            self.engine.execution_options(**{_READ_ONLY: True, "postgresql_readonly": True}),
            expire_on_commit=False,
            autoflush=False,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session that may write; its one transaction is committed at the end."""
        async with self._writing() as session, session.begin():
            yield session

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """A session that may only read: the database itself refuses writes."""
        async with self._reading() as session:
            yield session

    async def check(self) -> None:
        """One round trip.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: it does not answer.
        """
        async with self.snapshot() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def _engine(database: str) -> AsyncEngine:
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StoreError("TAMER_DATABASE_URL: SQLite needs a file, e.g. sqlite:////tmp/t.db")
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(
            url.set(drivername="sqlite+aiosqlite"), connect_args={"timeout": _BUSY_LIMIT_S}
        )
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    if url.get_backend_name() == "postgresql":
        return create_async_engine(url.set(drivername="postgresql+asyncpg"), pool_pre_ping=True)
    raise StoreError(
        f"TAMER_DATABASE_URL: '{url.drivername}' is not supported; "
        "use sqlite:///path or postgresql://user:password@host/name"
    )


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at its start: a reader that turned into a writer would be refused
    # without waiting whenever somebody else had written in between.
    read_only = bool(connection.get_execution_options().get(_READ_ONLY))
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
