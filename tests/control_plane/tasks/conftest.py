"""A broker on the session's Valkey, a host daemon whose instances just wait, Celery workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from control_plane.controller.operation import OperationReconciler
from control_plane.store.session import Database
from control_plane.tasks.messages import Messages
from infra.embedded import EmbeddedValkey
from infra.process import end_with_parent
from infra.settings import Settings
from tests.control_plane.tasks.worker_process import WorkerProcess


@pytest.fixture
def settings(store_settings: Settings, valkey_server: EmbeddedValkey, valkey: Redis) -> Settings:
    broker = f"redis+socket://{valkey_server.socket}?virtual_host=1"
    return store_settings.model_copy(update={"broker_url": broker, "row_lease_s": 1.0})


@pytest.fixture
def messages(settings: Settings) -> Iterator[Messages]:
    opened = Messages(settings)
    yield opened
    opened.close()


@pytest.fixture
def operations_reconciler(database: Database, messages: Messages) -> OperationReconciler:
    return OperationReconciler(database, messages)


@pytest.fixture
def start_worker(settings: Settings, database: Database) -> Iterator[Callable[[], WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        started.append(WorkerProcess(settings))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def start_cloud(settings: Settings) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """The host daemon of the local cloud; its instances are programs that wait."""
    started: list[subprocess.Popen[bytes]] = []
    waiting = [sys.executable, "-c", "import signal; signal.pause()"]

    def start() -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "infra.cloud.local", "--", *waiting],
                cwd=Path(__file__).parents[3],
                env={**os.environ, "TAMER_HOME": str(settings.home)},
                stdin=subprocess.DEVNULL,
                preexec_fn=end_with_parent(),  # noqa: PLW1509
            )
        )
        return started[-1]

    yield start
    for daemon in started:
        daemon.terminate()
        daemon.wait(20)
