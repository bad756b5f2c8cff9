"""The Celery application: one queue, one task, JSON, no results, no retries of its own.

Imports are kept light: a worker is up in about a second and pays for SQLAlchemy, the clouds and the
importer with its first operation that needs them.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_shutting_down

from infra.process_settings import process_settings
from infra.settings import Settings
from infra.telemetry import configure_logging

QUEUE = "tamer"
TASK = "tamer.run_operation"
_BROKER_LIMIT_S = 5.0
"""For one reply of the broker; it must be longer than the second that a worker blocks in a read."""

stopping = threading.Event()
"""Set when this worker was asked to stop: long work gives its operation back."""


def build_app(settings: Settings) -> Celery:
    app = Celery("tamer", broker=settings.broker)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=QUEUE,
        # A message outlives the worker that took it, and is harmless when it comes again: what is
        # done and what is not is in the operation's row alone.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_publish_retry=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": _BROKER_LIMIT_S,
            "socket_timeout": _BROKER_LIMIT_S,
        },
    )
    return app


app = build_app(process_settings())


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def run_operation(operation_id: str) -> None:
    """Carry out one operation, unless it is done or somebody is at it."""
    from control_plane.tasks.execution import execute

    asyncio.run(execute(operation_id, Settings(), stopping))


@setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
def _log_as_we_do(**_: Any) -> None:
    configure_logging("tasks", Settings().log_level)


@worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    stopping.set()
