"""Can the store of TAMER_DATABASE_URL be used? Asked before anything depends on it."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from control_plane.store.session import Database, StoreError
from infra.process_settings import process_settings
from infra.settings import Settings

_ANSWER_LIMIT_S = 5.0
_QUESTIONS = {"sqlite": "SELECT sqlite_version() FROM (SELECT count(*) FROM sqlite_master)"}
"""SQLite reads its file only where it must."""
_ANY_QUESTION = "SHOW server_version"
_REFUSED = ("28000", "28P01")
"""Codes of PostgreSQL for a user or a password that it does not take."""
_NO_SUCH_DATABASE = "3D000"


async def describe_store(settings: Settings) -> str:
    """What the store is and where, e.g. "PostgreSQL 16.4 at db:5432/tamer", without a password.

    Raises:
        StoreError: it cannot be used; the message says what to change.
    """
    try:
        database = Database(settings)
    except OSError as error:
        raise StoreError(f"TAMER_DATABASE_URL: {error}: name a file that we may write") from error
    is_sqlite = database.engine.dialect.name == "sqlite"
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S), database.snapshot() as session:
            question = _QUESTIONS.get(database.engine.dialect.name, _ANY_QUESTION)
            version = await session.scalar(text(question))
    except (SQLAlchemyError, OSError) as error:
        place = _place(database)
        said = _sqlite_trouble(place, error) if is_sqlite else _server_trouble(place, error)
        raise StoreError(f"TAMER_DATABASE_URL: {said}") from error
    finally:
        await database.close()
    return f"{'SQLite' if is_sqlite else 'PostgreSQL'} {version} at {_place(database)}"


def _place(database: Database) -> str:
    url = database.engine.url
    if database.engine.dialect.name == "sqlite":
        return str(url.database)
    return f"{url.host or 'the local socket'}:{url.port or 5432}/{url.database or ''}"


def _sqlite_trouble(place: str, error: Exception) -> str:
    return f"{place} cannot be opened ({_said_by(error)}): name a SQLite file that we may write"


def _server_trouble(place: str, error: Exception) -> str:
    original = error.orig if isinstance(error, DBAPIError) else error
    code = str(getattr(original, "sqlstate", None) or "")
    if code in _REFUSED:
        return (
            f"the PostgreSQL at {place} refuses user and password: correct them in the URL "
            "(postgresql://user:password@host/name)"
        )
    if code == _NO_SUCH_DATABASE:
        name = place.rpartition("/")[2]
        return f"the PostgreSQL at {place} has no such database: type 'createdb {name}'"
    said = f"the PostgreSQL at {place} does not answer ({_said_by(error)})"
    return f"{said}: start it, or correct the URL"


def _said_by(error: Exception) -> str:
    """The first line of the driver's own words."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig else error
    lines = str(original).strip().splitlines()
    return lines[0] if lines else "no answer in time"


def main() -> None:
    """`python -m control_plane.store.reach`: what it is on stdout, code 0; or why it cannot be
    used, code 1."""
    try:
        said = asyncio.run(describe_store(process_settings()))
    except StoreError as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(1)
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
