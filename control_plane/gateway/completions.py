"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from control_plane.gateway.access import Caller, authenticate
from control_plane.gateway.admission import encode_prompts, job_specs, output_limit
from control_plane.gateway.body import parsed
from control_plane.gateway.destination import Destination, choose
from control_plane.gateway.durable import submission
from control_plane.gateway.durable.idempotency import IdempotencyKey
from control_plane.gateway.endings import ending_error
from control_plane.gateway.enqueue import enqueue
from control_plane.gateway.errors import bad_request
from control_plane.gateway.event_stream import EventStream, disconnected
from control_plane.gateway.generation import Generation
from control_plane.gateway.openapi import CHAT_ANSWERS, TEXT_ANSWERS, request_body
from control_plane.gateway.output_grammar import require_grammar
from control_plane.gateway.responses import ChatShape, Shape, TextShape
from control_plane.gateway.schemas import ChatRequest, CompletionOptions, TextRequest
from control_plane.gateway.services import Services
from control_plane.gateway.tokenizer_messages import EncodeChat, EncodeTexts, Prompt
from control_plane.gateway.tools.shape import ToolShape
from control_plane.http.request_id import arrived_at_s, request_id
from infra.ending import end_tasks
from infra.registry import ring_controller

router = APIRouter(dependencies=[Depends(authenticate)])
_DEFAULT_TEXT_TOKENS = 16
_CLIENT_GONE = 499

Limited = list[tuple[Prompt, int]]
"""Prompts, each with its output limit."""


@router.post(
    "/v1/chat/completions",
    responses=CHAT_ANSWERS,
    openapi_extra=request_body(ChatRequest),
)
async def create_chat_completion(
    request: Request,
    caller: Caller,
    chat: Annotated[ChatRequest, Depends(parsed(ChatRequest))],
    key: IdempotencyKey,
) -> Response:
    services = _services(request)

    async def prepare() -> tuple[Destination, Limited]:
        destination = await choose(services, caller, chat.model, request_id(request.scope))
        return destination, await _chat_prompts(services, destination, chat)

    if key or chat.background:
        return await submission.submit(services, request, caller, chat, "chat", key, prepare)
    destination, prompts = await prepare()
    generation = await _generate(request, caller, chat, destination, prompts)
    tools = chat.tools_read_by(destination.text.assets.chat_template)
    kind = ChatShape if tools is None else partial(ToolShape, tools)
    shape = kind(chat.model, destination.revision_id, chat.include_usage)
    return await _answer(request, generation, shape, chat)


@router.post(
    "/v1/completions",
    responses=TEXT_ANSWERS,
    openapi_extra=request_body(TextRequest),
)
async def create_completion(
    request: Request,
    caller: Caller,
    text: Annotated[TextRequest, Depends(parsed(TextRequest))],
    key: IdempotencyKey,
) -> Response:
    services = _services(request)

    async def prepare() -> tuple[Destination, Limited]:
        destination = await choose(services, caller, text.model, request_id(request.scope))
        return destination, await _text_prompts(services, destination, text)

    if key or text.background:
        return await submission.submit(services, request, caller, text, "text", key, prepare)
    destination, prompts = await prepare()
    generation = await _generate(request, caller, text, destination, prompts)
    shape = TextShape(text.model, destination.revision_id, text.include_usage)
    return await _answer(request, generation, shape, text)


async def _chat_prompts(services: Services, destination: Destination, chat: ChatRequest) -> Limited:
    route = destination.route
    await require_grammar(services.tokenizers, chat, destination)
    messages = [message.for_template() for message in chat.messages]
    tools = json.dumps([tool.for_template() for tool in chat.offered])
    arguments = json.dumps(chat.template_arguments)
    context = route.max_context_tokens
    encoding = EncodeChat(route.text_digest, messages, context, tools, arguments)
    prompts = await encode_prompts(services, destination, encoding)
    return [(each, output_limit(route, each, chat.output_limit, None)) for each in prompts]


async def _text_prompts(
    services: Services, destination: Destination, request: TextRequest
) -> Limited:
    """Texts are tokenised; token ids are taken as they are."""
    route = destination.route
    await require_grammar(services.tokenizers, request, destination)
    texts = [each for each in request.prompt if isinstance(each, str)]
    if texts:
        encoding = EncodeTexts(route.text_digest, texts, route.max_context_tokens)
        prompts = await encode_prompts(services, destination, encoding)
    else:
        given = [each for each in request.prompt if isinstance(each, list)]
        for ids in given:
            if max(ids) >= route.vocabulary_size:
                raise bad_request(
                    f"Invalid value for 'prompt': token ids must be below {route.vocabulary_size}.",
                    "prompt",
                    "invalid_value",
                )
        prompts = [Prompt(len(ids), ids) for ids in given]
    return [
        (each, output_limit(route, each, request.output_limit, _DEFAULT_TEXT_TOKENS))
        for each in prompts
    ]


async def _generate(
    request: Request,
    caller: Caller,
    options: CompletionOptions,
    destination: Destination,
    prompts: Limited,
) -> Generation:
    services, route = _services(request), destination.route
    prompt_tokens = sum(prompt.count for prompt, _ in prompts)
    arrived = arrived_at_s(request.scope)
    generation = Generation(services.consumer, prompt_tokens, route.name, arrived)
    job_prefix = f"job-{secrets.token_hex(12)}"
    identity = request_id(request.scope)
    tools = options.tools_read_by(destination.text.assets.chat_template)
    display = replace(options.display, tools=tools)
    for spec in job_specs(destination, options, prompts, identity, job_prefix, caller.tenant):
        generation.add(destination.revision_id, spec, destination.text, display)
    await enqueue(
        services.consumer,
        generation,
        caller.tenant,
        route.queue_limit_s,
        route.max_queued_jobs,
        route.boot_s,
    )
    if route.ready_replicas == 0:
        await ring_controller(services.jobs)
    return generation


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
            route = _services(request).known.route(generation.deployment)
            raise ending_error(generation.failure, route)
        if not generation.ended:
            return Response(status_code=_CLIENT_GONE)
        answers = generation.answers(options.sequences, options.n)
        return JSONResponse(shape.whole(answers, generation))


def _services(request: Request) -> Services:
    services: Services = request.app.state.gateway
    return services
