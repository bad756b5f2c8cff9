"""One worker's hold on one operation: kept while the work lasts, and the only way to end it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.repositories import operations
from control_plane.store.repositories.operations import OperationState
from control_plane.store.session import Database
from control_plane.store.tables import Operation
from infra.telemetry import logger
from infra.waiting import set_within

_REPORT_S = 0.5
"""Progress is written about this often."""

log = logger(__name__)


class ClaimLost(Exception):
    """The operation was taken over, or has failed by its deadline: the work counts for nothing."""


class Interrupted(Exception):
    """This worker was asked to stop in the middle of the work."""


class Claim:
    """Made by `claimed`. `progress` and `check` may be called from any thread."""

    def __init__(
        self,
        database: Database,
        operation: Operation,
        token: str,
        lease_s: float,
        stopping: threading.Event,
    ) -> None:
        self.database = database
        self.operation = operation
        self.ended_as = "taken_over"
        """A final state or `given_back`, once this attempt has written one."""
        self._token = token
        self._lease_s = lease_s
        self._stopping = stopping
        self._lost = threading.Event()
        self._progress: dict[str, Any] = dict(operation.progress)

    def progress(self, phase: str, done_bytes: int, total_bytes: int) -> None:
        """Note how far the work is, and raise as `check` does."""
        self.tell(phase=phase, done_bytes=done_bytes, total_bytes=total_bytes)
        self.check()

    def tell(self, **more: Any) -> None:
        """Note something beside the progress, for whoever asks what the operation found."""
        self._progress = {**self._progress, **more}

    async def still_ours(self, session: AsyncSession) -> None:
        """Hold on to the claim in a transaction that something depends on. Raises ClaimLost."""
        if not await operations.report(
            session, self.operation.id, self._token, self._progress, self._lease_s
        ):
            raise ClaimLost(self.operation.id)

    def check(self) -> None:
        """Raises ClaimLost or Interrupted where there is no use in going on."""
        if self._lost.is_set():
            raise ClaimLost(self.operation.id)
        if self._stopping.is_set():
            raise Interrupted("the worker was stopped")

    async def keep(self, ended: asyncio.Event) -> None:
        """Write progress and renew the claim until the work has ended or the claim is lost."""
        clock = asyncio.get_running_loop().time
        written, last_s = self._progress, clock()
        while not await set_within(ended, _REPORT_S) and not self._lost.is_set():
            if self._progress == written and clock() - last_s < self._lease_s / 3:
                continue
            written = self._progress
            try:
                async with self.database.transaction() as session:
                    held = await operations.report(
                        session, self.operation.id, self._token, written, self._lease_s
                    )
            except (SQLAlchemyError, OSError) as error:  # the second one: nobody listens there
                log.warning("could not renew", operation_id=self.operation.id, error=str(error))
                continue
            last_s = clock()
            if not held:
                self._lost.set()

    @asynccontextmanager
    async def outcome(self, state: OperationState, error: str = "") -> AsyncIterator[AsyncSession]:
        """End the operation, with whatever the block writes, in one transaction.

        Raises:
            ClaimLost: nothing was written.
        """
        async with self.database.transaction() as session:
            await self.still_ours(session)
            await operations.finish(session, self.operation.id, self._token, state, error)
            yield session
        self.ended_as = state.value

    async def give_back(self, error: str, pause_s: float, allow_s: float = 0.0) -> None:
        """Let it be tried again after a pause; it has at least `allow_s` from then on."""
        async with self.database.transaction() as session:
            id, token = self.operation.id, self._token
            await operations.postpone(session, id, token, error, pause_s, allow_s)
        self.ended_as = "given_back"
