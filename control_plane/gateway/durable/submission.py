"""A completion that is to outlive its connection: in the background, or under a key."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from control_plane.gateway.access import CallerIdentity
from control_plane.gateway.admission import job_specs
from control_plane.gateway.destination import Destination
from control_plane.gateway.durable import replies
from control_plane.gateway.durable.answer import read_now
from control_plane.gateway.durable.idempotency import body_digest, key_reused
from control_plane.gateway.errors import bad_request, unavailable
from control_plane.gateway.responses import ChatShape, TextShape
from control_plane.gateway.schemas import CompletionOptions
from control_plane.gateway.services import Services
from control_plane.gateway.tokenizer_messages import Prompt
from control_plane.http.request_id import arrived_at_s, request_id
from infra.connection import REDIS_AWAY
from infra.durable.idempotency import Repeated, key_name
from infra.durable.log import OPEN
from infra.registry import ring_controller
from infra.states import JobState
from infra.wire import DurableRequest

_RETRY_S = 2.0

Prepare = Callable[[], Awaitable[tuple[Destination, Sequence[tuple[Prompt, int]]]]]


async def submit(
    services: Services,
    request: Request,
    caller: CallerIdentity,
    options: CompletionOptions,
    endpoint: str,
    key: str,
    prepare: Prepare,
) -> Response:
    """Begin the request, or find the one that its key began before, and answer from its log.

    Raises:
        ApiError: it is not accepted, its key stands for another request, or it did not end well.
    """
    _require_kept(options)
    name, digest = key_name(caller.tenant, key) if key else "", body_digest(endpoint, options)
    try:
        earlier = await _begun_before(services, name) if name else None
        if earlier is None:
            destination, prompts = await prepare()
            begun = _describe(request, caller, options, endpoint, name, destination, prompts)
            arrived = arrived_at_s(request.scope)
            earlier = await services.durable.begin(
                begun, digest, destination.text, arrived, destination.route.boot_s
            )
        else:
            destination = None
        wanted = begun if earlier is None else await _earlier(services, earlier, digest)
    except REDIS_AWAY as error:
        raise unavailable(
            "The job queue cannot be reached; try again.", "queue_away", _RETRY_S
        ) from error
    if destination is not None and destination.route.ready_replicas == 0:
        await ring_controller(services.jobs)
    wanted = msgspec.structs.replace(wanted, include_usage=options.include_usage)
    response = await _reply(services, request, options, wanted)
    if earlier is not None:
        response.headers["idempotent-replayed"] = "true"
    return response


def _require_kept(options: CompletionOptions) -> None:
    """A log holds outputs."""
    param, wanted = "", "an 'Idempotency-Key'"
    if options.ranks:
        param = "best_of"
    elif options.prompt_logprobs is not None:
        param = "prompt_logprobs"
    elif options.max_tokens == 0:
        param, wanted = "max_tokens", "'background' or an 'Idempotency-Key' where it is 0"
    if param:
        message = f"'{param}' is not kept with {wanted}; leave one of them out."
        raise bad_request(message, param, "invalid_value")


async def _reply(
    services: Services, request: Request, options: CompletionOptions, wanted: DurableRequest
) -> Response:
    if options.stream:
        return replies.stream(services, wanted)
    if options.background:
        return replies.accepted(wanted, await read_now(services.durable, wanted))
    return await replies.complete(services, wanted, request)


async def _begun_before(services: Services, name: str) -> Repeated | None:
    """What a key stands for. Where that came to nothing, and its gateway died before it could say
    so, the key is free again."""
    earlier = await services.durable.keys.find(name)
    if earlier is None:
        return None
    found = await services.durable.log.find(earlier.request_id)
    if found is not None and found.status in (OPEN, JobState.COMPLETED):
        return earlier
    await services.durable.keys.release(name, earlier.request_id)
    return None


async def _earlier(services: Services, earlier: Repeated, digest: str) -> DurableRequest:
    if earlier.body_digest != digest:
        raise key_reused()
    found = await services.durable.log.find(earlier.request_id)
    if found is None:
        # It was not accepted after all, and its key is about to be free.
        raise unavailable("The first request with this key has just failed.", "retry", _RETRY_S)
    return found.request


def _describe(
    request: Request,
    caller: CallerIdentity,
    options: CompletionOptions,
    endpoint: str,
    idempotency_key: str,
    destination: Destination,
    prompts: Sequence[tuple[Prompt, int]],
) -> DurableRequest:
    route = destination.route
    identity = (ChatShape if endpoint == "chat" else TextShape).new_id()
    jobs = job_specs(
        destination, options, prompts, request_id(request.scope), identity, caller.tenant
    )
    return DurableRequest(
        request_id=identity,
        tenant=caller.tenant,
        endpoint=endpoint,
        model=options.model,
        revision_id=destination.revision_id,
        text_digest=route.text_digest,
        created_at=int(time.time()),
        choices=len(jobs),
        prompt_tokens=sum(prompt.count for prompt, _ in prompts),
        queue_limit_s=route.queue_limit_s,
        max_queued_jobs=route.max_queued_jobs,
        stops=options.display.stops,
        include_stop=options.display.include_stop,
        special_tokens=options.display.special_tokens,
        echo=options.display.echo,
        logprobs=options.display.logprobs,
        include_usage=options.include_usage,
        jobs=jobs,
        idempotency_key=idempotency_key,
        tools=options.tools_read_by(destination.text.assets.chat_template),
    )
