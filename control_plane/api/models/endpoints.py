from __future__ import annotations

from fastapi import APIRouter, Response

from control_plane.api.lists import CurrentPage, ListOf, show_list
from control_plane.api.models import service
from control_plane.api.models.schemas import (
    Collection,
    ImportStarted,
    ModelDetail,
    ModelImport,
    ModelPack,
    ModelShown,
    show_detail,
    show_model,
)
from control_plane.api.operations.schemas import OperationShown, show_operation
from control_plane.api.transaction import CurrentChange, Reading
from control_plane.store.repositories import listings

router = APIRouter(prefix="/models", tags=["models"])


@router.post(
    "",
    status_code=202,
    responses={200: {"model": ImportStarted, "description": "It was imported before."}},
)
async def import_model(
    wanted: ModelImport, change: CurrentChange, response: Response
) -> ImportStarted:
    begun = await service.start_import(change, wanted)
    response.status_code = 202 if begun.started else 200
    return ImportStarted(model=show_model(begun.model), operation=show_operation(begun.operation))


@router.post(
    "/{name}/packages",
    status_code=202,
    responses={200: {"model": ImportStarted, "description": "It is kept so already."}},
)
async def pack_model(
    name: str, wanted: ModelPack, change: CurrentChange, response: Response
) -> ImportStarted:
    """Make another package of a model: lay its weights out for fast loading, quantise them, or
    change their dtype."""
    begun = await service.start_pack(change, name, wanted)
    response.status_code = 202 if begun.started else 200
    return ImportStarted(model=show_model(begun.model), operation=show_operation(begun.operation))


@router.get("")
async def list_models(session: Reading, page: CurrentPage) -> ListOf[ModelShown]:
    return show_list(await listings.models(session, page), show_model)


@router.get("/{name}")
async def get_model(name: str, session: Reading) -> ModelDetail:
    model = await service.find(session, name)
    return show_detail(model, await service.users_of(session, model))


@router.post("/collections", status_code=202)
async def collect_garbage(wanted: Collection, change: CurrentChange) -> OperationShown:
    """Remove what no model and no revision uses from the store."""
    return show_operation(await service.collect(change, wanted.dry_run))


@router.delete("/{name}")
async def delete_model(name: str, change: CurrentChange) -> ModelShown:
    return show_model(await service.delete(change, name))
