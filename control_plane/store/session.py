"""Sessions of the store, on SQLite (one machine) or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from control_plane.store import postgresql, sqlite
from infra.settings import Settings

_USE = "use sqlite:///path or postgresql://user:password@host/name"


class StoreError(RuntimeError):
    """The store cannot be used as configured; the message says what to change."""


class Database:
    """The engine of one process and its two kinds of session.

    Nothing here commits in the middle: a transaction is committed when its block ends well, and
    rolled back when it does not. No network call belongs inside either block.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises StoreError: the URL names no database that the store knows."""
        self.engine, snapshot = _open(settings.database)
        self._writing = async_sessionmaker(self.engine, expire_on_commit=False)
        self._reading = async_sessionmaker(
            self.engine.execution_options(**snapshot),
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
        """A session that may only read, and sees one state of the store from its first statement
        on: the database itself refuses writes."""
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


def _open(database: str) -> tuple[AsyncEngine, Mapping[str, Any]]:
    """The engine, and the execution options of its snapshots."""
    try:
        url = make_url(database)
    except (ArgumentError, ValueError) as error:  # not repeated: a password may be in it
        raise StoreError(f"TAMER_DATABASE_URL: no URL of a database; {_USE}") from error
    if url.get_backend_name() == "sqlite":
        try:
            return sqlite.open_engine(url, json_serializer=_json), sqlite.SNAPSHOT
        except ValueError as error:
            raise StoreError(f"TAMER_DATABASE_URL: {error}") from error
    if url.get_backend_name() == "postgresql":
        return postgresql.open_engine(url, json_serializer=_json), postgresql.SNAPSHOT
    raise StoreError(f"TAMER_DATABASE_URL: '{url.drivername}' is not supported; {_USE}")


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)  # SQLite would take a NaN, PostgreSQL would not
