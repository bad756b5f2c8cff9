"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from control_plane.gateway.access import Caller, authenticate
from control_plane.gateway.admission import encode_prompts, enqueue, output_limit
from control_plane.gateway.body import parsed
from control_plane.gateway.destination import Destination, choose
from control_plane.gateway.endings import ending_error
from control_plane.gateway.errors import bad_request
from control_plane.gateway.event_stream import EventStream, disconnected
from control_plane.gateway.generation import Generation
from control_plane.gateway.responses import ChatShape, Shape, TextShape
from control_plane.gateway.schemas import ChatRequest, CompletionOptions, TextRequest
from control_plane.gateway.services import Services
from control_plane.gateway.tokenizer_messages import EncodeChat, EncodeTexts, Prompt
from control_plane.http.request_id import arrived_at_s, request_id
from infra.ending import end_tasks

router = APIRouter(dependencies=[Depends(authenticate)])
_DEFAULT_TEXT_TOKENS = 16
_CLIENT_GONE = 499


@router.post("/v1/chat/completions")
async def create_chat_completion(
    request: Request,
    caller: Caller,
    chat: Annotated[ChatRequest, Depends(parsed(ChatRequest))],
) -> Response:
    services, identity = _services(request), request_id(request.scope)
    arrived = arrived_at_s(request.scope)
    destination = await choose(services, chat.model, identity)
    route = destination.route
    messages = [message.for_template() for message in chat.messages]
    prompts = await encode_prompts(
        services,
        destination,
        EncodeChat(route.text_digest, messages, route.max_context_tokens),
    )
    limited = [(each, output_limit(route, each, chat.output_limit, None)) for each in prompts]
    generation = await enqueue(services, destination, chat, limited, caller, identity, arrived)
    shape = ChatShape(chat.model, destination.revision_id, chat.include_usage)
    return await _answer(request, generation, shape, chat)


@router.post("/v1/completions")
async def create_completion(
    request: Request,
    caller: Caller,
    text: Annotated[TextRequest, Depends(parsed(TextRequest))],
) -> Response:
    services, identity = _services(request), request_id(request.scope)
    arrived = arrived_at_s(request.scope)
    destination = await choose(services, text.model, identity)
    prompts = await _text_prompts(services, destination, text)
    limited = [
        (each, output_limit(destination.route, each, text.max_tokens, _DEFAULT_TEXT_TOKENS))
        for each in prompts
    ]
    generation = await enqueue(services, destination, text, limited, caller, identity, arrived)
    shape = TextShape(text.model, destination.revision_id, text.include_usage)
    return await _answer(request, generation, shape, text)


async def _text_prompts(
    services: Services, destination: Destination, request: TextRequest
) -> list[Prompt]:
    """Texts are tokenised; token ids are taken as they are."""
    route = destination.route
    texts = [each for each in request.prompt if isinstance(each, str)]
    if texts:
        return await encode_prompts(
            services,
            destination,
            EncodeTexts(route.text_digest, texts, route.max_context_tokens),
        )
    given = [each for each in request.prompt if isinstance(each, list)]
    for ids in given:
        if max(ids) >= route.vocabulary_size:
            raise bad_request(
                f"Invalid value for 'prompt': token ids must be below {route.vocabulary_size}.",
                "prompt",
                "invalid_value",
            )
    return [Prompt(len(ids), ids) for ids in given]


async def _answer(
    request: Request, generation: Generation, shape: Shape, options: CompletionOptions
) -> Response:
    if options.stream:
        return EventStream(generation, shape, _services(request).settings.sse_comment_s)
    async with generation:
        finishing = asyncio.create_task(generation.finish())
        leaving = asyncio.create_task(disconnected(request.receive))
        try:
            await asyncio.wait({finishing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(finishing, leaving)
        if generation.failure is not None:
            raise ending_error(generation.failure)
        if not generation.ended:
            return Response(status_code=_CLIENT_GONE)
        return JSONResponse(shape.whole(generation))


def _services(request: Request) -> Services:
    services: Services = request.app.state.gateway
    return services
