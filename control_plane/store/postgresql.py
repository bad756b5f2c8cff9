"""PostgreSQL, the store of many machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_CONNECT_LIMIT_S = 10.0
_COMMAND_LIMIT_S = 30.0
"""A server that has vanished is given up after this, not when TCP does."""
_IDLE_LIMIT_S = 10.0
"""A process that stops in the middle of a transaction loses it, and its locks, after this."""
_LOCK_LIMIT_S = 15.0
"""How long a transaction waits for another's lock: longer than one that has stopped can hold it."""
_SESSION = {
    "idle_in_transaction_session_timeout": f"{_IDLE_LIMIT_S:g}s",
    "lock_timeout": f"{_LOCK_LIMIT_S:g}s",
}

SNAPSHOT: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of a session that reads one state and cannot write."""


def open_engine(url: URL, **options: Any) -> AsyncEngine:
    """An engine whose transactions are READ COMMITTED and hold no lock for long.

    The URL may say `sslmode` as libpq does (asyncpg calls it `ssl`).
    """
    query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        pool_pre_ping=True,
        connect_args={"timeout": _CONNECT_LIMIT_S, "command_timeout": _COMMAND_LIMIT_S},
        **options,
    )
    event.listen(engine.sync_engine, "connect", _set_up)
    event.listen(engine.sync_engine, "handle_error", _name_bad_values)
    return engine


def _set_up(connection: Any, _record: Any) -> None:
    # Not as parameters of the connection: poolers between us and the server refuse those.
    settings = ", ".join(
        f"set_config('{name}', '{each}', false)" for name, each in _SESSION.items()
    )
    cursor = connection.cursor()
    cursor.execute(f"SELECT {settings}")
    cursor.close()
    connection.commit()


def _name_bad_values(context: ExceptionContext) -> None:
    """A value that no column can hold is a DataError, whether the driver or the server refuses it.

    Raises:
        DataError: instead of the driver's error.
    """
    original = context.original_exception
    refused_by_server = str(getattr(original, "sqlstate", None) or "").startswith("22")
    if refused_by_server or isinstance(original.__cause__, ValueError):
        raise DataError(context.statement, None, original) from original
