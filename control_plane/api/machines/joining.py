"""A machine of its owner's becomes an instance: with a token the first time, with its credential
whenever it comes back."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.problem import Problem, invalid_field
from control_plane.store.leases import FREE
from control_plane.store.repositories import audit, instances, machines
from control_plane.store.tables import Machine
from infra.keys import hash_secret
from infra.states import InstanceState
from infra.wire import JoinRequest

_SHORTEST_CREDENTIAL = 32
_LONGEST_NAME = 63


async def join_machine(
    session: AsyncSession, request: JoinRequest, capabilities: dict[str, Any]
) -> str:
    """The id of the instance that this machine is from now on.

    The same process (it keeps its nonce) stays the instance that it is, as long as that was not
    given up; another process on the machine says that the one before it is gone.

    Raises:
        Problem: 401 for a machine that is not known and has no good token; 422 for a weak secret.
    """
    if len(request.credential) < _SHORTEST_CREDENTIAL:
        raise invalid_field("credential", f"needs {_SHORTEST_CREDENTIAL} characters or more")
    machine = await _admit(session, request)
    process = hash_secret(f"{request.credential}\n{request.nonce}")
    present = await machines.present(session, machine.id)
    if present is not None and present.join_token_hash == process:
        return present.id
    if present is not None:
        seen = InstanceState(present.state)
        reason = "its machine began anew"
        await instances.move(session, present.id, seen, InstanceState.LOST, reason, **FREE)
    instance = await machines.begin_instance(session, machine, _kind(request), capabilities)
    instance.join_token_hash = process
    await audit.record(
        session, machine.id, "instance.join", instance.id, {"hostname": request.hostname}
    )
    return instance.id


async def _admit(session: AsyncSession, request: JoinRequest) -> Machine:
    credential_hash = hash_secret(request.credential)
    machine = await machines.lock_by_credential(session, credential_hash)
    if machine is None:
        machine = await machines.lock_by_token(session, hash_secret(request.token))
        if machine is None:
            raise _refused(request)
        machine.credential_hash, machine.token_hash = credential_hash, None
    machine.name = _name(request.name) or machine.name or _name(request.hostname) or "machine"
    return machine


def _name(said: str) -> str:
    """What a machine says of itself, as a name."""
    return re.sub(r"[^a-z0-9]+", "-", said.lower()).strip("-")[:_LONGEST_NAME].strip("-")


def _kind(request: JoinRequest) -> str:
    """E.g. "cuda", of "cuda:0"."""
    return request.devices[0].partition(":")[0] if request.devices else "none"


def _refused(request: JoinRequest) -> Problem:
    said = "unknown, used or too old" if request.token else "missing, and this machine is not known"
    detail = f"the join token is {said}; 'tamer worker token' makes another"
    return Problem(401, "join-refused", detail)
