from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.models.schemas import ModelImport, ModelPack
from control_plane.api.problem import Problem, not_found
from control_plane.api.transaction import Change
from control_plane.importer.hub_source import asks_for
from control_plane.store.clock import read_clock
from control_plane.store.repositories import deployments, models, operations
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.tables import Model, Operation

_UNDER_WAY = ".packing"
"""Ends the name of a model that will replace another, until it does."""
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
        if not _is_kept(existing, wanted.asked()):
            raise Problem(409, "packed-differently", _otherwise(existing))
        return Import(existing, await _operation(change, existing), started=False)
    model = await models.add(change.session, wanted.name, wanted.source, now, wanted.asked())
    operation = await _operation(change, model)
    await change.record("model.import", model.id, name=model.name, source=model.source)
    return Import(model, operation, started=True)


async def start_pack(change: Change, name: str, wanted: ModelPack) -> Import:
    """Ask for another package of a model; the same again returns what is there."""
    model = await models.lock(change.session, name)
    if model is None:
        raise _unknown(name)
    if model.state != models.READY:
        raise Problem(409, "model-not-ready", f"model '{name}' is still importing; wait for it")
    if model.quantization == "int8" and wanted.quantization == "none":
        detail = f"model '{name}' is int8: import {model.source} again, under another name"
        raise Problem(409, "quantized", detail)
    replaces = wanted.name in (None, name)
    if replaces and model.weights_root and _is_kept(model, wanted.asked()):
        return Import(model, await _operation(change, model), started=False)
    packing = {**model.packing, **wanted.asked()}
    new_name = wanted.name if wanted.name and not replaces else f"{name}{_UNDER_WAY}"
    existing = await models.lock(change.session, new_name)
    if existing is not None:
        found = (existing.packed_from, existing.packing, existing.replaces)
        if found != (model.id, packing, replaces):
            raise Problem(409, "name-taken", _taken(existing))
        return Import(existing, await _operation(change, existing), started=False)
    now = await read_clock(change.session)
    made = await models.add(
        change.session, new_name, model.source, now, packing, model.id, replaces
    )
    operation = await _operation(change, made)
    await change.record("model.pack", made.id, name=new_name, source=model.id)
    return Import(made, operation, started=True)


async def delete(change: Change, name: str) -> Model:
    """Free the name. The files stay until garbage is collected: other models may share them."""
    model = await models.lock(change.session, name)
    if model is None:
        raise _unknown(name)
    if model.state == models.IMPORTING:
        detail = f"model '{name}' is still importing; wait until that has ended, then delete it"
        raise Problem(409, "importing", detail)
    if await models.being_packed(change.session, model.id):
        detail = f"model '{name}' is just being packed; wait until that has ended, then delete it"
        raise Problem(409, "packing", detail)
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
    kind = OperationKind.PACK_MODEL if model.packed_from else OperationKind.IMPORT_MODEL
    key = f"{'pack' if model.packed_from else 'import'}:{model.id}"
    limit_s = change.settings.import_limit_s
    return await operations.add(change.session, kind, model.id, key, limit_s)


def _is_kept(model: Model, asked: dict[str, Any]) -> bool:
    """Whether the weights are kept as asked, as far as anything is."""
    kept = {"slices": 1, **model.packing}
    if model.quantization:
        kept["quantization"] = model.quantization
    return all(kept.get(name) == value for name, value in asked.items())


def _unknown(name: str) -> Problem:
    return not_found("model", name, "tamer models list")


def _otherwise(model: Model) -> str:
    return (
        f"model '{model.name}' is there and its weights are kept otherwise; make what you want of "
        f"it with 'tamer models pack {model.name}'"
    )


def _taken(model: Model) -> str:
    return (
        f"model '{model.name}' comes from {model.source}; choose another name, "
        f"or delete it first with 'tamer models delete {model.name}'"
    )
