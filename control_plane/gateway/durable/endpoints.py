"""`GET` and `cancel` of durable completions, by the id that every part of their answer carries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import JSONResponse, Response

from control_plane.gateway.access import Caller, authenticate
from control_plane.gateway.durable.answer import read_now, whole
from control_plane.gateway.durable.replies import accepted, stream
from control_plane.gateway.errors import ApiError, unavailable
from control_plane.gateway.openapi import CHAT_ANSWERS, TEXT_ANSWERS
from control_plane.gateway.services import Services
from infra.connection import REDIS_AWAY
from infra.durable.log import Found

router = APIRouter(dependencies=[Depends(authenticate)])
_RETRY_AWAY_S = 2.0
_INT64 = 1 << 63


@router.get("/v1/chat/completions/{completion_id}", responses=CHAT_ANSWERS)
@router.get("/v1/completions/{completion_id}", responses=TEXT_ANSWERS)
async def retrieve_completion(
    request: Request,
    caller: Caller,
    completion_id: str,
    stream_wanted: Annotated[bool, Query(alias="stream")] = False,
    starting_after: Annotated[int | None, Query(ge=0, lt=_INT64)] = None,
    last_event_id: Annotated[
        int | None, Header(ge=0, lt=_INT64, description="As `starting_after`, from an EventSource.")
    ] = None,
) -> Response:
    """The answer as it is now, or as events after the one numbered `starting_after`."""
    services: Services = request.app.state.gateway
    found = await _find(services, request, caller.tenant, completion_id)
    if stream_wanted:
        after = last_event_id or 0 if starting_after is None else starting_after
        return stream(services, found.request, after)
    try:
        return JSONResponse(whole(found.request, await read_now(services.durable, found.request)))
    except REDIS_AWAY as error:
        raise _away() from error


@router.post("/v1/chat/completions/{completion_id}/cancel", responses=CHAT_ANSWERS)
@router.post("/v1/completions/{completion_id}/cancel", responses=TEXT_ANSWERS)
async def cancel_completion(request: Request, caller: Caller, completion_id: str) -> Response:
    """Ask for its end; one that has ended stays as it is."""
    services: Services = request.app.state.gateway
    found = await _find(services, request, caller.tenant, completion_id)
    try:
        await services.durable.log.ask_to_cancel(found.request.request_id)
        answer = await read_now(services.durable, found.request)
    except REDIS_AWAY as error:
        raise _away() from error
    return accepted(found.request, answer)


async def _find(services: Services, request: Request, tenant: str, completion_id: str) -> Found:
    """A tenant's own. Raises ApiError 404."""
    try:
        found = await services.durable.log.find(completion_id)
    except REDIS_AWAY as error:
        raise _away() from error
    chat = "/chat/" in request.url.path
    if (
        found is None
        or found.request.tenant != tenant
        or (found.request.endpoint == "chat") is not chat
    ):
        raise ApiError(
            404,
            f"No completion with id '{completion_id[:100]}' was found: only those with "
            "'background' or an 'Idempotency-Key' are kept, and not for ever.",
            code="completion_not_found",
        )
    return found


def _away() -> ApiError:
    return unavailable("The job queue cannot be reached; try again.", "queue_away", _RETRY_AWAY_S)
