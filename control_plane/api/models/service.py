from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.models.schemas import ModelImport
from control_plane.api.problem import Problem, not_found
from control_plane.api.transaction import Change
from control_plane.importer.hub_source import asks_for
from control_plane.store.clock import read_clock
from control_plane.store.repositories import deployments, models, operations
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.tables import Model, Operation

STORE = "models"
"""The subject of an operation on the whole store."""


@dataclass(frozen=True, slots=True)
class Import:
    model: Model
    operation: Operation
    started: bool


async def find(session: AsyncSession, name: str) -> Model:
    """Raises Problem 404."""
    model = await models.find(session, name)
    if model is None:
        raise _unknown(name)
    return model


async def start_import(change: Change, wanted: ModelImport) -> Import:
    """Register a model and ask for its import; the same again returns what is there."""
    now = await read_clock(change.session)
    existing = await models.lock(change.session, wanted.name)
    if existing is not None:
        if not asks_for(existing.source, wanted.source):
            raise Problem(409, "name-taken", _taken(existing))
        return Import(existing, await _operation(change, existing), started=False)
    model = await models.add(change.session, wanted.name, wanted.source, now)
    operation = await _operation(change, model)
    await change.record("model.import", model.id, name=model.name, source=model.source)
    return Import(model, operation, started=True)


async def delete(change: Change, name: str) -> Model:
    """Free the name. The files stay until garbage is collected: other models may share them."""
    model = await models.lock(change.session, name)
    if model is None:
        raise _unknown(name)
    if model.state == models.IMPORTING:
        detail = f"model '{name}' is still importing; wait until that has ended, then delete it"
        raise Problem(409, "importing", detail)
    users = await deployments.names_that_use(change.session, model)
    if users:
        detail = f"model '{name}' is used by {', '.join(users)}; delete those deployments first"
        raise Problem(409, "in-use", detail)
    model.state = models.DELETED
    model.updated_at = await read_clock(change.session)
    await change.record("model.delete", model.id, name=name)
    return model


async def collect(change: Change, dry_run: bool) -> Operation:
    """Ask for what no model and no revision uses to be removed from the store, or only listed; the
    request that is under way already is the answer to another."""
    kind = OperationKind.LIST_GARBAGE if dry_run else OperationKind.COLLECT_GARBAGE
    operation = await operations.add_another(
        change.session, kind, STORE, change.settings.operation_limit_s
    )
    await change.record(f"model.{kind}", operation.id)
    return operation


async def users_of(session: AsyncSession, model: Model) -> list[str]:
    """The names of the deployments that use it."""
    return await deployments.names_that_use(session, model)


async def _operation(change: Change, model: Model) -> Operation:
    return await operations.add(
        change.session,
        OperationKind.IMPORT_MODEL,
        model.id,
        f"import:{model.id}",
        change.settings.import_limit_s,
    )


def _unknown(name: str) -> Problem:
    return not_found("model", name, "tamer models list")


def _taken(model: Model) -> str:
    return (
        f"model '{model.name}' comes from {model.source}; choose another name, "
        f"or delete it first with 'tamer models delete {model.name}'"
    )
