"""Machines of their owners: let in once by a token, known from then on by their credential."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now, read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.repositories.replicas import ENDED as REPLICA_ENDED
from control_plane.store.tables import Instance, Machine, Replica
from infra.names import JOINED_CLOUD
from infra.states import InstanceState, ReplicaState

_PRESENT = (InstanceState.JOINED.value, InstanceState.NOTICED.value)


async def add(session: AsyncSession, name: str, token_hash: str, token_s: float) -> Machine:
    """One that may join with this token, once, within this time."""
    now = await read_clock(session)
    machine = Machine(
        id=new_id(Prefix.MACHINE),
        name=name,
        token_hash=token_hash,
        token_expires_at=now + token_s,
        created_at=now,
    )
    session.add(machine)
    await session.flush()
    return machine


async def forget_uninvited(session: AsyncSession) -> None:
    """Remove machines that did not join while their token was good."""
    await session.execute(
        delete(Machine).where(
            Machine.credential_hash.is_(None), Machine.token_expires_at <= database_now()
        )
    )


async def lock_by_token(session: AsyncSession, token_hash: str) -> Machine | None:
    """The machine that this token lets in now, locked until the end of the transaction."""
    statement = select(Machine).where(
        Machine.token_hash == token_hash, Machine.token_expires_at > database_now()
    )
    return await session.scalar(statement.with_for_update())


async def lock_by_credential(session: AsyncSession, credential_hash: str) -> Machine | None:
    """Locked until the end of the transaction."""
    statement = select(Machine).where(Machine.credential_hash == credential_hash)
    return await session.scalar(statement.with_for_update())


async def present(session: AsyncSession, machine_id: str) -> Instance | None:
    """The instance that the machine is now; None where it is not here, or leaves."""
    found = await session.scalars(
        select(Instance)
        .where(
            Instance.cloud == JOINED_CLOUD,
            Instance.cloud_id == machine_id,
            Instance.state.in_(_PRESENT),
        )
        .order_by(Instance.id.desc())
        .limit(1)
    )
    return found.first()


async def begin_instance(
    session: AsyncSession, machine: Machine, instance_type: str, capabilities: dict[str, Any]
) -> Instance:
    """A machine of its owner's begins as what a launched one becomes."""
    now = await read_clock(session)
    instance = Instance(
        id=new_id(Prefix.INSTANCE),
        cloud=JOINED_CLOUD,
        cloud_id=machine.id,
        instance_type=instance_type,
        zone=machine.name,
        market="owned",
        state=InstanceState.JOINED.value,
        assignment_version=1,
        capabilities=capabilities,
        created_at=now,
        updated_at=now,
        joined_at=now,
    )
    session.add(instance)
    await session.flush()
    return instance


async def lock_slot(session: AsyncSession, heard: Collection[str]) -> Instance | None:
    """A machine that joined and has a device slot to spare, of those that were just heard: the one
    with most of them, kept from other placings until the end of the transaction."""
    found = await session.scalars(
        select(Instance)
        .where(
            Instance.cloud == JOINED_CLOUD,
            Instance.state == InstanceState.JOINED.value,
            Instance.id.in_(heard),
        )
        .order_by(Instance.id)
        .with_for_update()
    )
    joined = {instance.id: instance for instance in found}
    counted = await session.execute(
        select(Replica.instance_id, func.count())
        .where(Replica.instance_id.in_(joined), Replica.state.not_in(REPLICA_ENDED))
        .group_by(Replica.instance_id)
    )
    taken = {row[0]: row[1] for row in counted}
    spare = {id: slots(each) - taken.get(id, 0) for id, each in joined.items()}
    most = max(spare, key=lambda id: spare[id], default=None)
    return joined[most] if most is not None and spare[most] > 0 else None


async def lock_kept(
    session: AsyncSession, deployment_id: str, heard: Collection[str]
) -> Instance | None:
    """An instance that stays for this deployment, of those that were just heard, with a slot that
    is free once what drains there has ended; locked until the end of the transaction."""
    kept = await session.scalars(
        select(Instance)
        .where(
            Instance.kept_for == deployment_id,
            Instance.state == InstanceState.JOINED.value,
            Instance.id.in_(heard),
        )
        .order_by(Instance.id)
        .with_for_update()
    )
    for instance in kept:
        staying = (*REPLICA_ENDED, ReplicaState.DRAINING.value)
        taken = await session.scalar(
            select(func.count()).where(
                Replica.instance_id == instance.id, Replica.state.not_in(staying)
            )
        )
        if (taken or 0) < max(1, slots(instance)):
            return instance
    return None


def slots(instance: Instance) -> int:
    """Replicas that it can run at once, as it said when it joined."""
    return len(instance.capabilities.get("devices", ()))


async def newest_instances(
    session: AsyncSession, machine_ids: Sequence[str]
) -> dict[str, Instance]:
    """The instance that each machine is or was, by the machine's id; one that never joined is
    missing."""
    newest = (
        select(func.max(Instance.id))
        .where(Instance.cloud == JOINED_CLOUD, Instance.cloud_id.in_(machine_ids))
        .group_by(Instance.cloud_id)
    )
    found = await session.scalars(select(Instance).where(Instance.id.in_(newest)))
    return {instance.cloud_id: instance for instance in found}


async def of_credential(session: AsyncSession, credential_hash: str) -> Machine | None:
    return await session.scalar(select(Machine).where(Machine.credential_hash == credential_hash))


async def remove(session: AsyncSession, machine_id: str) -> Machine | None:
    """It may not join any more; None where it is gone already."""
    machine = await session.scalar(
        select(Machine).where(Machine.id == machine_id).with_for_update()
    )
    if machine is not None:
        await session.delete(machine)
    return machine
