"""Operations: sent to Celery when they are new, again when nothing came of it, failed when late."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.controller.world import World
from control_plane.store.repositories import imports, operations
from control_plane.store.session import Database
from control_plane.store.tables import Operation
from control_plane.tasks.messages import BrokerAway, Messages
from infra.telemetry import logger

_SEND_AGAIN_S = 5.0
"""A message that nobody took up by then may be lost; one too many does no harm."""
_BROKER_PAUSE_S = 1.0

log = logger(__name__)


class OperationReconciler:
    """The row's own claim and `send_after` are its lease: one controller books each sending."""

    name = "operation"

    def __init__(self, database: Database, messages: Messages) -> None:
        self._database = database
        self._messages = messages

    async def run(self, _world: World | None, /) -> int:
        """Raises BrokerAway: what could not be sent is tried again in a moment."""
        async with self._database.snapshot() as session:
            late, due = await operations.overdue(session), await operations.due(session)
        return await self._fail(late) + await self._send_messages(due)

    async def _send_messages(self, due: Sequence[Operation]) -> int:
        if not due:
            return 0
        async with self._database.transaction() as session:
            booked = await operations.book_sendings(session, due, _SEND_AGAIN_S)
        for number, operation in enumerate(booked):
            await self._send(operation, booked[number:])
        return len(booked)

    async def _send(self, operation: Operation, unsent: Sequence[Operation]) -> None:
        try:
            await self._messages.send(operation.id)
        except BrokerAway:
            async with self._database.transaction() as session:
                await operations.send_in(session, [each.id for each in unsent], _BROKER_PAUSE_S)
            raise
        log.info("operation sent", operation_id=operation.id, kind=operation.kind)

    async def _fail(self, late: Sequence[Operation]) -> int:
        for operation in late:
            async with self._database.transaction() as session:
                failed = await operations.expire(session, operation.id, "not done by its deadline")
                if failed and operation.kind in operations.MAKES_MODEL:
                    await imports.fail(session, operation.subject_id, "it took too long")
            if failed:
                log.warning("operation failed by deadline", operation_id=operation.id)
        return len(late)
