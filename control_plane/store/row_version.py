"""Which version of a row this is, where the database tells."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, String, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from control_plane.store.tables import Deployment, Instance, Replica


class _RowVersion(FunctionElement[str]):
    """Of the transaction that wrote it, and the place where it lies."""

    type = String()
    inherit_cache = True


@compiles(_RowVersion, "sqlite")
def _sqlite(_element: _RowVersion, _compiler: SQLCompiler, **_: Any) -> str:
    return "NULL"


@compiles(_RowVersion, "postgresql")
def _postgresql(element: _RowVersion, compiler: SQLCompiler, **options: Any) -> str:
    transaction, place = (compiler.process(each, **options) for each in element.clauses)
    return f"(CAST({transaction} AS TEXT) || CAST({place} AS TEXT))"


def row_version(table: type[Deployment] | type[Replica] | type[Instance]) -> ColumnElement[str]:
    """Another one after each write, whoever wrote: PostgreSQL keeps every version of a row, each
    with its transaction (`xmin`) and its place (`ctid`). NULL on SQLite, which does not tell."""
    name = table.__tablename__
    return _RowVersion(literal_column(f"{name}.xmin"), literal_column(f"{name}.ctid"))
