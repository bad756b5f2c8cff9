"""What is asked of a store: every statement with its values, while a block runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from control_plane.store.session import Database

_READS = ("SELECT", "WITH")


@dataclass(slots=True)
class Asked:
    statements: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def reads(self) -> list[tuple[str, Any]]:
        return [each for each in self.statements if each[0].lstrip().startswith(_READS)]

    @property
    def writes(self) -> list[str]:
        return [text for text, _ in self.statements if text.startswith(("INSERT", "UPDATE"))]


@contextmanager
def asked(database: Database) -> Iterator[Asked]:
    found = Asked()

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.statements.append((statement, parameters))

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def plan_of(database: Database, statement: str, parameters: Any) -> list[dict[str, Any]]:
    """Every node of the plan by which PostgreSQL runs it, where it reads no table whole unless it
    must, with what came of it."""
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        rows = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
        )
        said = rows.scalar_one()
        await connection.rollback()
    return list(_nodes((json.loads(said) if isinstance(said, str) else said)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)
