"""An agent proves with a one-time token that it may serve as an instance."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.context import Context
from control_plane.api.machines.addresses import Addresses, addresses
from control_plane.api.machines.joining import join_machine
from control_plane.api.problem import Problem, invalid_field
from control_plane.store.repositories import audit, joins
from control_plane.store.tables import Instance
from infra.keys import hash_secret
from infra.names import LOCAL_CLOUD
from infra.registry import ring_controller
from infra.states import IllegalTransition, InstanceState, advance
from infra.wire import WIRE_VERSION, JoinGrant, JoinRequest

_MAX_TEXT = 512


def read_request(body: bytes) -> JoinRequest:
    """Raises Problem 422: the body is not a `JoinRequest`."""
    try:
        request = msgspec.json.decode(body, type=JoinRequest)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise invalid_field("body", f"must be a JSON JoinRequest: {error}") from error
    texts = (
        *(request.token, request.nonce, request.credential),
        *(request.build, request.hostname, request.name, *request.devices),
    )
    if len(request.devices) > _MAX_TEXT or any(len(text) > _MAX_TEXT for text in texts):
        raise invalid_field("body", f"no text and no list may be longer than {_MAX_TEXT}")
    return request


async def join(context: Context, request: JoinRequest, host: str) -> JoinGrant:
    """Take the token, once, and say where the queue is; `host` is the name that reached us.

    The answer can be lost after the commit. So the token is replaced by a hash of token and nonce:
    whoever sent the first request can repeat it, and nobody who learned only the token can.

    Raises:
        Problem: 401 for a token that is unknown, used or too old; 409 for another wire version, or
            where a machine that joins could not reach the queue.
    """
    _check_version(request.wire_version)
    settings = context.settings
    reach = Addresses(settings.jobs, settings.tokens)
    async with context.database.transaction() as session:
        instance_id = await _become(session, request)
        instance = await session.get_one(Instance, instance_id)
        if instance.cloud != LOCAL_CLOUD:
            # What it raises takes back the join: the token is as good as before.
            reach = addresses(settings, host)
    await ring_controller(context.jobs)
    return JoinGrant(
        instance_id=instance_id,
        jobs_url=reach.jobs_url,
        tokens_url=reach.tokens_url,
        wire_version=WIRE_VERSION,
        heartbeat_s=settings.heartbeat_s,
        lease_s=settings.lease_s,
    )


def _check_version(theirs: int) -> None:
    oldest = WIRE_VERSION - 1
    if oldest <= theirs <= WIRE_VERSION:
        return
    age, to_upgrade = ("newer", "control plane") if theirs > WIRE_VERSION else ("older", "agent")
    detail = (
        f"the agent's wire version {theirs} is {age} than this control plane understands "
        f"({oldest} to {WIRE_VERSION}); upgrade the {to_upgrade}"
    )
    raise Problem(409, "wire-version", detail)


async def _become(session: AsyncSession, request: JoinRequest) -> str:
    """The id of the instance that the agent is."""
    if request.credential:
        return await join_machine(session, request, _capabilities(request))
    return await _repeated(session, request) or await _take_token(session, request)


async def _repeated(session: AsyncSession, request: JoinRequest) -> str | None:
    """The instance that this very request joined before."""
    if not request.nonce:
        return None
    instance = await joins.lock_by_hash(session, _repetition_hash(request))
    if instance is None or instance.state != InstanceState.JOINED.value:
        return None
    return instance.id


async def _take_token(session: AsyncSession, request: JoinRequest) -> str:
    token_hash = hash_secret(request.token)
    instance = await joins.lock_by_hash(session, token_hash)
    if instance is None or instance.joined_at is not None:
        raise _refused()
    state = InstanceState(instance.state)
    if state is InstanceState.REQUESTED:
        state = advance(state, InstanceState.LAUNCHING)  # it is here, so it was launched
    try:
        advance(state, InstanceState.JOINED)
    except IllegalTransition:
        raise _refused() from None
    repetition = _repetition_hash(request) if request.nonce else None
    capabilities = _capabilities(request)
    if not await joins.take(session, instance.id, token_hash, repetition, capabilities):
        raise _refused()
    detail = {"hostname": request.hostname}
    await audit.record(session, "join-token", "instance.join", instance.id, detail)
    return instance.id


def _repetition_hash(request: JoinRequest) -> str:
    return hash_secret(f"{request.token}\n{request.nonce}")


def _capabilities(request: JoinRequest) -> dict[str, Any]:
    return {
        "wire_version": request.wire_version,
        "build": request.build,
        "hostname": request.hostname,
        "devices": request.devices,
        "memory_bytes": request.memory_bytes,
        "cpu_count": request.cpu_count,
    }


def _refused() -> Problem:
    detail = "this join token is unknown, used or too old; launch a new instance to get another"
    return Problem(401, "join-refused", detail)
