from __future__ import annotations

from control_plane.api.machines.addresses import addresses
from control_plane.api.problem import not_found
from control_plane.api.transaction import Change
from control_plane.store.leases import FREE
from control_plane.store.repositories import instances, machines
from control_plane.store.tables import Instance, Machine
from infra.keys import hash_secret, new_secret
from infra.states import InstanceState

_PREFIX = "join"


async def invite(change: Change, name: str) -> tuple[Machine, str]:
    """A machine that may join, and its token, which nobody can learn again.

    Raises:
        Problem: 409 where no other machine could reach the queue anyway.
    """
    addresses(change.settings, host=None)
    await machines.forget_uninvited(change.session)
    token = new_secret(_PREFIX)
    limit_s = change.settings.join_token_s
    machine = await machines.add(change.session, name, hash_secret(token), limit_s)
    await change.record("machine.invite", machine.id, name=name)
    return machine, token


async def remove(change: Change, machine_id: str) -> tuple[Machine, Instance | None]:
    """End a machine's right to join; where it is here, it is told to leave. Raises Problem 404."""
    machine = await machines.remove(change.session, machine_id)
    if machine is None:
        raise not_found("machine", machine_id, "tamer worker list")
    instance = await machines.present(change.session, machine.id)
    if instance is not None:
        seen = InstanceState(instance.state)
        reason = "its machine was removed"
        await instances.move(
            change.session, instance.id, seen, InstanceState.DRAINING, reason, **FREE
        )
        await change.session.refresh(instance)
    await change.record("machine.remove", machine.id, name=machine.name)
    return machine, instance
