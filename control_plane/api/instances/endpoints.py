from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from control_plane.api.context import CurrentContext
from control_plane.api.instances import joining, service
from control_plane.api.instances.schemas import InstanceShown, show_instance
from control_plane.api.lists import CurrentPage, ListOf, show_list
from control_plane.api.transaction import Reading
from control_plane.store.repositories import listings
from infra.wire import JoinGrant, JoinRequest

router = APIRouter(prefix="/instances", tags=["instances"])
join_router = APIRouter(prefix="/instances", tags=["instances"])
"""Open to whoever has a join token; no key."""


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = components[kind.__name__]
    return schema


@router.get("")
async def list_instances(
    session: Reading, page: CurrentPage, ended: bool = False
) -> ListOf[InstanceShown]:
    return show_list(await listings.instances(session, page, ended), show_instance)


@router.get("/{instance_id}")
async def get_instance(instance_id: str, session: Reading) -> InstanceShown:
    return show_instance(await service.find(session, instance_id))


@join_router.post(
    "/join",
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _schema(JoinRequest)}},
        }
    },
    responses={200: {"content": {"application/json": {"schema": _schema(JoinGrant)}}}},
)
async def join(request: Request, context: CurrentContext) -> Response:
    asked = joining.read_request(await request.body())
    grant = await joining.join(context, asked, request.url.hostname or "")
    return Response(msgspec.json.encode(grant), media_type="application/json")
