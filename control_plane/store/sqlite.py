"""SQLite, the store of one machine: a file that several processes write in turn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_BUSY_LIMIT_S = 15.0
"""How long a transaction waits for another writer."""
_READ_ONLY = "tamer_read_only"

SNAPSHOT: Mapping[str, Any] = {_READ_ONLY: True}
"""Execution options of a session that reads one state and cannot write."""


def open_engine(url: URL, **options: Any) -> AsyncEngine:
    """An engine whose writers wait for each other.

    Raises:
        ValueError: the URL names no file.
    """
    if not url.database or url.database == ":memory:":
        raise ValueError("SQLite needs a file, e.g. sqlite:////tmp/t.db")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"), connect_args={"timeout": _BUSY_LIMIT_S}, **options
    )
    event.listen(engine.sync_engine, "connect", _set_up)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin does
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A writer takes the lock at its start: a reader that turned into a writer would be refused
    # without waiting whenever somebody else had written in between.
    read_only = bool(connection.get_execution_options().get(_READ_ONLY))
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
