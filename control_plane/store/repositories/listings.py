"""Pages of long lists: newest first, continued after the last id seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from sqlalchemy import Select, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from control_plane.store.repositories.instances import ENDED as INSTANCE_ENDED
from control_plane.store.repositories.models import IS_LIVE
from control_plane.store.repositories.operations import UNFINISHED
from control_plane.store.repositories.replicas import ENDED as REPLICA_ENDED
from control_plane.store.tables import (
    ApiKey,
    AuditEvent,
    Decision,
    Deployment,
    Instance,
    Machine,
    Model,
    Operation,
    Replica,
    Revision,
    Start,
)
from infra.states import DeploymentState

Row = TypeVar("Row")
AnySelect: TypeAlias = "Select[*tuple[Any, ...]]"


@dataclass(frozen=True, slots=True)
class Page:
    limit: int = 50
    cursor: str | None = None
    """The last id of the page before."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    rows: list[Row]
    next_cursor: str | None


class Deployed(NamedTuple):
    """A deployment and the revision that it wants to run."""

    deployment: Deployment
    revision: Revision


class NamedReplica(NamedTuple):
    replica: Replica
    deployment_name: str


def live_deployments() -> Select[Deployment, Revision]:
    """Rows of (deployment, revision), of those that are not deleted."""
    # As the partial index says it: a bound value is none that the index is known to have.
    deleted = literal(DeploymentState.DELETED.value, literal_execute=True)
    return (
        select(Deployment, Revision)
        .join(Revision, Revision.id == Deployment.revision_id)
        .where(Deployment.state != deleted)
    )


def _named_replicas() -> Select[Replica, str]:
    """Rows of (replica, name of its deployment)."""
    return select(Replica, Deployment.name).join(Deployment, Deployment.id == Replica.deployment_id)


async def deployments(session: AsyncSession, page: Page) -> Listing[Deployed]:
    """Every one that is not deleted."""
    rows = await session.execute(_newest_first(live_deployments(), Deployment.id, page))
    return _cut([Deployed(*row) for row in rows], page, lambda row: row.deployment.id)


async def models(session: AsyncSession, page: Page) -> Listing[Model]:
    """Every one that is not deleted."""
    return await _entities(session, select(Model).where(IS_LIVE), Model.id, page)


async def keys(session: AsyncSession, page: Page) -> Listing[ApiKey]:
    return await _entities(session, select(ApiKey), ApiKey.id, page)


async def decisions(session: AsyncSession, deployment_id: str, page: Page) -> Listing[Decision]:
    statement = select(Decision).where(Decision.deployment_id == deployment_id)
    return await _entities(session, statement, Decision.id, page)


async def starts(session: AsyncSession, deployment_id: str, page: Page) -> Listing[Start]:
    statement = select(Start).where(Start.deployment_id == deployment_id)
    return await _entities(session, statement, Start.id, page)


async def audit_events(session: AsyncSession, page: Page) -> Listing[AuditEvent]:
    return await _entities(session, select(AuditEvent), AuditEvent.id, page)


async def instances(session: AsyncSession, page: Page, ended: bool) -> Listing[Instance]:
    """With `ended`, the terminated ones too."""
    statement = select(Instance)
    if not ended:
        statement = statement.where(Instance.state.not_in(INSTANCE_ENDED))
    return await _entities(session, statement, Instance.id, page)


async def machines(session: AsyncSession, page: Page) -> Listing[Machine]:
    return await _entities(session, select(Machine), Machine.id, page)


async def operations(session: AsyncSession, page: Page, ended: bool) -> Listing[Operation]:
    """With `ended`, those that succeeded or failed too."""
    statement = select(Operation)
    if not ended:
        statement = statement.where(Operation.state.in_(UNFINISHED))
    return await _entities(session, statement, Operation.id, page)


async def replicas(
    session: AsyncSession, page: Page, deployment_id: str | None, ended: bool
) -> Listing[NamedReplica]:
    """Of one deployment or of all; with `ended`, those that terminated or failed too."""
    statement = _named_replicas()
    if deployment_id is not None:
        statement = statement.where(Replica.deployment_id == deployment_id)
    if not ended:
        statement = statement.where(Replica.state.not_in(REPLICA_ENDED))
    rows = await session.execute(_newest_first(statement, Replica.id, page))
    return _cut([NamedReplica(*row) for row in rows], page, lambda row: row.replica.id)


async def replica(session: AsyncSession, replica_id: str) -> NamedReplica | None:
    rows = await session.execute(_named_replicas().where(Replica.id == replica_id))
    row = rows.one_or_none()
    return None if row is None else NamedReplica(*row)


async def _entities(
    session: AsyncSession,
    statement: AnySelect,
    row_id: InstrumentedAttribute[str],
    page: Page,
) -> Listing[Any]:
    rows = await session.scalars(_newest_first(statement, row_id, page))
    return _cut(rows.all(), page, lambda row: cast(str, row.id))


def _newest_first(
    statement: AnySelect, row_id: InstrumentedAttribute[str], page: Page
) -> AnySelect:
    """The rows of a page, and one more that tells whether there is a next."""
    if page.cursor is not None:
        statement = statement.where(row_id < page.cursor)
    return statement.order_by(row_id.desc()).limit(page.limit + 1)


def _cut(rows: Sequence[Row], page: Page, id_of: Callable[[Row], str]) -> Listing[Row]:
    kept = list(rows[: page.limit])
    return Listing(kept, id_of(kept[-1]) if len(rows) > page.limit else None)
