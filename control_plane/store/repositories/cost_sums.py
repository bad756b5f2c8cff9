"""What was spent and used in a time, summed by the database: a quarter of many deployments is
hundreds of thousands of hours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from control_plane.ledger.report import Line, Lines
from control_plane.store.ledger_tables import ChargeShare, TokenCount

_DAY_S: ColumnElement[int] = literal_column("86400")
"""Written out: to PostgreSQL two parameters make two expressions, of which one is not grouped."""
_Key = ColumnElement[Any] | InstrumentedAttribute[Any]


async def by_deployment(
    session: AsyncSession,
    since: float,
    until: float,
    deployment_ids: Collection[str] | None = None,
) -> Lines:
    """In the hours that begin between, of all deployments or of these; `NOBODY` has what none
    used."""
    within = since, until, deployment_ids
    return _lines(
        await _money(session, ChargeShare.deployment_id, *within),
        await _use(session, TokenCount.deployment_id, *within),
    )


async def by_day(
    session: AsyncSession,
    since: float,
    until: float,
    deployment_ids: Collection[str] | None = None,
) -> Lines:
    """The same by the first epoch second of each day, in UTC."""
    within = since, until, deployment_ids
    return _lines(
        await _money(session, ChargeShare.hour - ChargeShare.hour % _DAY_S, *within),
        await _use(session, TokenCount.hour - TokenCount.hour % _DAY_S, *within),
    )


async def _money(
    session: AsyncSession,
    key: _Key,
    since: float,
    until: float,
    deployment_ids: Collection[str] | None,
) -> Sequence[Sequence[Any]]:
    statement = (
        select(key, func.sum(ChargeShare.used_micros), func.sum(ChargeShare.idle_micros))
        .where(ChargeShare.hour >= since, ChargeShare.hour < until)
        .group_by(key)
    )
    if deployment_ids is not None:
        statement = statement.where(ChargeShare.deployment_id.in_(deployment_ids))
    found: Sequence[Sequence[Any]] = (await session.execute(statement)).all()
    return found


async def _use(
    session: AsyncSession,
    key: _Key,
    since: float,
    until: float,
    deployment_ids: Collection[str] | None,
) -> Sequence[Sequence[Any]]:
    counts = (TokenCount.prompt_tokens, TokenCount.output_tokens, TokenCount.jobs)
    statement = (
        select(key, *(func.sum(each) for each in counts))
        .where(TokenCount.hour >= since, TokenCount.hour < until)
        .group_by(key)
    )
    if deployment_ids is not None:
        statement = statement.where(TokenCount.deployment_id.in_(deployment_ids))
    found: Sequence[Sequence[Any]] = (await session.execute(statement)).all()
    return found


def _lines(money: Iterable[Sequence[Any]], use: Iterable[Sequence[Any]]) -> Lines:
    lines = {str(key): Line(int(used), int(idle)) for key, used, idle in money}
    for key, *counts in use:
        lines.setdefault(str(key), Line()).add(Line(0, 0, *(int(each) for each in counts)))
    return lines
