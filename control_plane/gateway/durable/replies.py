"""How a durable request is answered: at once, at its end, or as a stream that can be resumed."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from control_plane.gateway.durable.answer import Answer, events, read_whole, whole
from control_plane.gateway.endings import ending_error
from control_plane.gateway.event_stream import disconnected
from control_plane.gateway.services import Services
from infra.ending import end_tasks
from infra.wire import DurableRequest

_CLIENT_GONE = 499


def accepted(request: DurableRequest, answer: Answer) -> Response:
    """202: it runs, whoever listens; 200 where it has ended by now."""
    status = 200 if answer.ended else 202
    return JSONResponse(whole(request, answer), status, {"location": _path(request)})


def stream(services: Services, request: DurableRequest, after: int = 0) -> Response:
    """A client that leaves, or is cut off, ends nothing but its stream."""
    return StreamingResponse(
        events(services.durable, request, after, services.settings.sse_comment_s),
        media_type="text/event-stream",
        headers={
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            "content-location": _path(request),
        },
    )


async def complete(services: Services, wanted: DurableRequest, request: Request) -> Response:
    """The whole answer, when it has ended.

    Raises:
        ApiError: it did not end well.
    """
    wait_s = services.settings.sse_comment_s
    reading = asyncio.create_task(read_whole(services.durable, wanted, wait_s))
    leaving = asyncio.create_task(disconnected(request.receive))
    try:
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return Response(status_code=_CLIENT_GONE)
        answer = reading.result()
    finally:
        await end_tasks(reading, leaving)
    if answer.failure is not None:
        raise ending_error(answer.failure, services.known.route(wanted.model))
    return JSONResponse(whole(wanted, answer), headers={"content-location": _path(wanted)})


def _path(request: DurableRequest) -> str:
    kind = "chat/completions" if request.endpoint == "chat" else "completions"
    return f"/v1/{kind}/{request.request_id}"
