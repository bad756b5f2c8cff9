"""Sending: the id of an operation, to whichever worker is free."""

from __future__ import annotations

import asyncio

from celery import Celery
from kombu.exceptions import OperationalError

from control_plane.tasks.app import TASK, build_app
from infra.settings import Settings


class BrokerAway(RuntimeError):
    """The message could not be sent; the operation's row says that it is to be sent again."""


class Messages:
    """One process's way to the broker."""

    def __init__(self, settings: Settings) -> None:
        self._app: Celery = build_app(settings)

    async def send(self, operation_id: str) -> None:
        """Send after the row is committed. kombu blocks, so it does in a thread.

        Raises:
            BrokerAway: the broker does not answer.
        """
        try:
            await asyncio.to_thread(self._app.send_task, TASK, args=[operation_id])
        except (OperationalError, OSError) as error:
            raise BrokerAway(f"Celery's broker does not answer: {error}") from error

    def close(self) -> None:
        self._app.close()
