"""Two controllers share the rows by leases, and each survives the other's death."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from control_plane.store.repositories import instances
from control_plane.store.session import Database
from control_plane.store.tables import Instance
from infra.process import end_with_parent
from infra.settings import Settings
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.stopping_controller import HOLDS

_ROW_LEASE_S = 2.0
_START_LIMIT_S = 60.0


@pytest.fixture
async def databases(migrated_settings: Settings) -> AsyncIterator[list[Database]]:
    """As processes have them: each with connections of its own."""
    opened = [Database(migrated_settings) for _ in range(3)]
    yield opened
    for each in opened:
        await each.close()


async def test_controllers_at_once_do_nothing_twice(cell: Cell, databases: list[Database]) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=2)
    controllers = [cell.new_controller(each) for each in databases]
    for _ in range(6):
        await asyncio.gather(*(each.reconcile() for each in controllers))
    sent = cell.mailbox.operation_ids
    assert len(sent) == len(set(sent)) == 2
    await asyncio.gather(*(cell.carry_out(each) for each in [*sent, *sent]))
    cell.mailbox.operation_ids.clear()
    for _ in range(6):
        await asyncio.gather(cell.step(), *(each.reconcile() for each in controllers))
    assert (await cell.until_state(chat, "ready")).target_replicas == 2
    assert cell.cloud.launches == len(await cell.replicas()) == len(await cell.instances()) == 2


@pytest.fixture
def start_controller(cell: Cell) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """A process that stops when it holds an instance."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.control_plane.controller.stopping_controller"],
                cwd=Path(__file__).parents[3],
                env={
                    **os.environ,
                    "TAMER_HOME": str(cell.settings.home),
                    "TAMER_DATABASE_URL": cell.settings.database_url,
                    "TAMER_JOBS_URL": cell.settings.jobs,
                    "TAMER_ROW_LEASE_S": str(cell.settings.row_lease_s),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=end_with_parent(),  # noqa: PLW1509
            )
        )
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


async def test_the_rows_of_a_killed_controller_are_taken_over_when_its_leases_have_run_out(
    cell: Cell, start_controller: Callable[[], subprocess.Popen[str]]
) -> None:
    cell.settings = cell.settings.model_copy(update={"row_lease_s": _ROW_LEASE_S})
    cell.controller = cell.new_controller()
    async with cell.database.transaction() as session:
        # Nobody needs them: what ends has to be forgotten in Redis, too.
        added = [await instances.add(session, "local", "m", "z", "on-demand") for _ in range(2)]
    victim = start_controller()
    async with asyncio.timeout(_START_LIMIT_S):
        held = await asyncio.to_thread(_held_by, victim)
    row = await _instance(cell, held)
    assert (row.state, row.lock_token is not None) == ("requested", True)

    await cell.step()  # the other instance is free: the work is shared
    states = {each.id: (await _instance(cell, each.id)).state for each in added}
    assert sorted(states.values()) == ["requested", "terminated"]
    assert states[held] == "requested"
    victim.kill()
    victim.wait()

    async def ended() -> bool:
        return (await _instance(cell, held)).state == "terminated"

    await cell.until(ended)
    taken_over = await _instance(cell, held)
    assert taken_over.ended_at is not None
    assert taken_over.ended_at >= row.lock_expires_at, "taken while its holder had the lease"


def _held_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(HOLDS):
            return line.removeprefix(HOLDS).strip()
    raise AssertionError(f"the controller ended: {process.wait()}")


async def _instance(cell: Cell, instance_id: str) -> Instance:
    async with cell.database.snapshot() as session:
        return await session.get_one(Instance, instance_id)
