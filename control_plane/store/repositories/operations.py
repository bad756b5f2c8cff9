"""Operation rows: claimed with a token, renewed by it, ended by it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import database_now, read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.insertion import insert_unless_there
from control_plane.store.leases import FREE, guarded_update, is_free, new_token
from control_plane.store.tables import Operation
from control_plane.store.writing import write_one


class OperationKind(StrEnum):
    LAUNCH_INSTANCE = "launch_instance"
    TERMINATE_INSTANCE = "terminate_instance"
    IMPORT_MODEL = "import_model"
    PACK_MODEL = "pack_model"
    LIST_GARBAGE = "list_garbage"
    COLLECT_GARBAGE = "collect_garbage"


MAKES_MODEL = (OperationKind.IMPORT_MODEL.value, OperationKind.PACK_MODEL.value)
"""Their subject is a model that is being made, and fails with them."""


class OperationState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


UNFINISHED = (OperationState.PENDING.value, OperationState.RUNNING.value)


async def add(
    session: AsyncSession,
    kind: OperationKind,
    subject_id: str,
    idempotency_key: str,
    limit_s: float,
) -> Operation:
    """The operation of this key: a new one, or the one that is there already."""
    now = await read_clock(session)
    await insert_unless_there(
        session,
        Operation,
        Operation.idempotency_key,
        id=new_id(Prefix.OPERATION),
        kind=kind.value,
        subject_id=subject_id,
        idempotency_key=idempotency_key,
        state=OperationState.PENDING.value,
        deadline_at=now + limit_s,
        created_at=now,
        updated_at=now,
    )
    found = await session.scalars(
        select(Operation).where(Operation.idempotency_key == idempotency_key)
    )
    return found.one()


async def add_another(
    session: AsyncSession, kind: OperationKind, subject_id: str, limit_s: float
) -> Operation:
    """The operation of this kind on a subject that is under way, or another one."""
    found = await session.scalars(
        select(Operation).where(Operation.subject_id == subject_id, Operation.kind == kind.value)
    )
    earlier = found.all()
    for operation in earlier:
        if operation.state in UNFINISHED:
            return operation
    key = f"{kind.value}:{subject_id}:{len(earlier) + 1}"
    return await add(session, kind, subject_id, key, limit_s)


async def add_termination(session: AsyncSession, instance_id: str, limit_s: float) -> Operation:
    """A termination that is under way, or another one: what costs money is never given up."""
    return await add_another(session, OperationKind.TERMINATE_INSTANCE, instance_id, limit_s)


async def is_worked_on(session: AsyncSession, kind: OperationKind) -> bool:
    """Whether somebody holds an operation of this kind now."""
    found = await session.scalars(
        select(Operation.id)
        .where(
            Operation.kind == kind.value,
            Operation.state == OperationState.RUNNING.value,
            Operation.deadline_at > database_now(),
            not_(is_free(Operation)),
        )
        .limit(1)
    )
    return found.first() is not None


async def newest_of(
    session: AsyncSession, subject_ids: Sequence[str], kind: OperationKind
) -> dict[str, Operation]:
    """The newest operation of a kind for each of these subjects."""
    if not subject_ids:
        return {}
    found = await session.scalars(
        select(Operation)
        .where(Operation.subject_id.in_(subject_ids), Operation.kind == kind.value)
        .order_by(Operation.created_at, Operation.id)  # ids come from clocks of many machines
    )
    return {operation.subject_id: operation for operation in found}


async def due(session: AsyncSession) -> Sequence[Operation]:
    """Unfinished operations that nobody works on and whose message is (again) to be sent."""
    found = await session.scalars(
        select(Operation)
        .where(
            Operation.state.in_(UNFINISHED),
            Operation.send_after <= database_now(),
            Operation.deadline_at > database_now(),
            is_free(Operation),
        )
        .order_by(Operation.id)
    )
    return found.all()


async def overdue(session: AsyncSession) -> Sequence[Operation]:
    """Unfinished operations past their deadline."""
    found = await session.scalars(
        select(Operation)
        .where(Operation.state.in_(UNFINISHED), Operation.deadline_at <= database_now())
        .order_by(Operation.id)
    )
    return found.all()


async def book_sendings(
    session: AsyncSession, due: Sequence[Operation], again_s: float
) -> list[Operation]:
    """Take it upon us to send these messages, and not again for `again_s`; returns those that no
    other has taken."""
    if not due:
        return []
    # Whoever books at the same time takes the others: nobody waits, and nobody waits in a circle.
    free = (
        select(Operation.id)
        .where(
            Operation.id.in_([each.id for each in due]),
            Operation.state.in_(UNFINISHED),
            Operation.send_after <= database_now(),
        )
        .with_for_update(skip_locked=True)
    )
    booked = await session.scalars(
        update(Operation)
        .where(Operation.id.in_(free))
        .values(send_after=database_now() + again_s)
        .returning(Operation.id)
        .execution_options(synchronize_session=False)
    )
    ours = set(booked)
    return [each for each in due if each.id in ours]


async def send_in(session: AsyncSession, operation_ids: Sequence[str], pause_s: float) -> None:
    """Their messages did not get out: send them after a pause."""
    await session.execute(
        update(Operation)
        .where(Operation.id.in_(operation_ids))
        .values(send_after=database_now() + pause_s)
        .execution_options(synchronize_session=False)
    )


async def claim(
    session: AsyncSession, operation_id: str, lease_s: float
) -> tuple[Operation, str] | None:
    """Begin to work on an operation; None if it is finished, claimed or past its deadline.

    A claim that has run out belongs to a worker that died: it is taken over.
    """
    token = new_token()
    claimed = await write_one(
        session,
        update(Operation)
        .where(
            Operation.id == operation_id,
            Operation.deadline_at > database_now(),
            or_(
                Operation.state == OperationState.PENDING.value,
                and_(Operation.state == OperationState.RUNNING.value, is_free(Operation)),
            ),
        )
        .values(
            state=OperationState.RUNNING.value,
            attempts=Operation.attempts + 1,
            lock_token=token,
            lock_expires_at=database_now() + lease_s,
            updated_at=database_now(),
        ),
    )
    if not claimed:
        return None
    return await session.get_one(Operation, operation_id), token


async def report(
    session: AsyncSession, operation_id: str, token: str, progress: dict[str, Any], lease_s: float
) -> bool:
    """Write progress and hold on; False if the claim is lost and the work must stop."""
    return await guarded_update(
        session,
        Operation,
        operation_id,
        token,
        progress=progress,
        lock_expires_at=database_now() + lease_s,
        updated_at=database_now(),
    )


async def finish(
    session: AsyncSession, operation_id: str, token: str, state: OperationState, error: str = ""
) -> bool:
    """Write the outcome; False, and nothing written, if the claim is lost."""
    return await guarded_update(
        session,
        Operation,
        operation_id,
        token,
        state=state.value,
        error=error,
        updated_at=database_now(),
        **FREE,
    )


async def postpone(
    session: AsyncSession,
    operation_id: str,
    token: str,
    error: str,
    pause_s: float,
    allow_s: float = 0.0,
) -> bool:
    """Give the work back for another attempt after a pause; False if the claim is lost.

    Args:
        allow_s: it has at least so long from then on, where it is not its fault that it is late.
    """
    longer = {"deadline_at": _at_least(pause_s + allow_s)} if allow_s else {}
    return await guarded_update(
        session,
        Operation,
        operation_id,
        token,
        state=OperationState.PENDING.value,
        error=error,
        **longer,
        send_after=database_now() + pause_s,
        updated_at=database_now(),
        **FREE,
    )


def _at_least(left_s: float) -> ColumnElement[float]:
    """A deadline that leaves so much time."""
    earliest = database_now() + left_s
    return case((Operation.deadline_at < earliest, earliest), else_=Operation.deadline_at)


async def expire(session: AsyncSession, operation_id: str, error: str) -> bool:
    """Fail what is past its deadline; whoever still works on it loses its claim."""
    return await write_one(
        session,
        update(Operation)
        .where(
            Operation.id == operation_id,
            Operation.state.in_(UNFINISHED),
            Operation.deadline_at <= database_now(),
        )
        .values(
            state=OperationState.FAILED.value,
            error=func.coalesce(func.nullif(Operation.error, "") + "; ", "") + error,
            updated_at=database_now(),
            **FREE,
        ),
    )
