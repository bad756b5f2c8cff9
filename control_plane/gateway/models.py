"""`GET /v1/models` and `GET /v1/models/{name}`: the deployments, as OpenAI lists models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from control_plane.gateway.access import authenticate
from control_plane.gateway.answers import ModelAnswer, ModelList
from control_plane.gateway.errors import model_not_found
from control_plane.gateway.services import Services
from infra.wire import Route

router = APIRouter(dependencies=[Depends(authenticate)])


@router.get("/v1/models", responses={200: {"model": ModelList}})
async def list_models(request: Request) -> dict[str, Any]:
    services: Services = request.app.state.gateway
    return {"object": "list", "data": [_model(route) for route in services.known.routes()]}


@router.get("/v1/models/{name:path}", responses={200: {"model": ModelAnswer}})
async def retrieve_model(request: Request, name: str) -> dict[str, Any]:
    services: Services = request.app.state.gateway
    route = services.known.route(name)
    if route is None:
        raise model_not_found(name)
    return _model(route)


def _model(route: Route) -> dict[str, Any]:
    return {
        "id": route.name,
        "object": "model",
        "created": route.created_at,
        "owned_by": "tamer",
        "max_model_len": route.max_context_tokens,
    }
