"""PostgreSQL that waits for its disk, Valkey, and a fleet in both: what controllers are run on."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from control_plane.store.migrations.upgrade import upgrade
from control_plane.store.repositories import decisions
from control_plane.store.session import Database
from infra.connection import RedisClient, connect
from infra.embedded import EmbeddedValkey
from infra.settings import Settings
from loadtests.benchmarks.control_plane.demand import Demand
from loadtests.benchmarks.control_plane.fleet import Fleet, Size, settle
from loadtests.benchmarks.control_plane.hands import Hands, add_machines
from loadtests.benchmarks.control_plane.told import BeatProcess, ControllerProcess
from loadtests.benchmarks.postgres_cluster import PostgresCluster, find_programs

_IDLE_S = 5.0
_LONGEST_S = 3600.0
_LOOK_S = 0.05


class TooSlow(RuntimeError):
    """What should have happened did not; the message says what."""


@dataclass(slots=True)
class Cell:
    settings: Settings
    environment: dict[str, str]
    database: Database
    ask: Callable[..., list[Any]]
    """Rows of a question to PostgreSQL, with values for $1 and so on: a judge of its own."""
    jobs: RedisClient
    fleet: Fleet
    hands: Hands
    demand: Demand
    log: Path

    def controller(self) -> ControllerProcess:
        return ControllerProcess(self.environment, self.log)

    def beats(self, per_s: float, for_s: float = _LONGEST_S) -> BeatProcess:
        return BeatProcess(self.environment, self.log, self.fleet.replicas_on, per_s, for_s)

    async def commits_s(self, times: int) -> list[float]:
        """Seconds of transactions that write one row, one after the other."""
        deployment_id = self.fleet.deployments[0].deployment_id
        took_s = []
        for _ in range(times):
            began_s = time.perf_counter()
            async with self.database.transaction() as session:
                await decisions.add(session, deployment_id, "benchmark", "", "", {}, {})
            took_s.append(time.perf_counter() - began_s)
        return took_s

    @asynccontextmanager
    async def at_work(self, *controllers: ControllerProcess) -> AsyncIterator[None]:
        """What these controllers send is carried out."""
        stop = asyncio.Event()
        sent = [each.sent for each in controllers]
        working = asyncio.create_task(self.hands.work(sent, stop))
        try:
            yield
        finally:
            stop.set()
            await working


@asynccontextmanager
async def open_cell(size: Size) -> AsyncIterator[Cell]:
    """A fleet that has just been settled; everything of it is gone at the end."""
    cluster = PostgresCluster(find_programs(), {})
    with tempfile.TemporaryDirectory(prefix="tamer-fleet-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        valkey = EmbeddedValkey(home / "v.sock", data_dir=home / "valkey")
        try:
            cluster.start()
            valkey.start()
            async with _cell(cluster, valkey, home, size) as cell:
                yield cell
        finally:
            valkey.stop()
            cluster.stop()


@asynccontextmanager
async def _cell(
    cluster: PostgresCluster, valkey: EmbeddedValkey, home: Path, size: Size
) -> AsyncIterator[Cell]:
    name = cluster.create()
    environment = {
        "TAMER_HOME": str(home),
        "TAMER_DATABASE_URL": cluster.url(name),
        "TAMER_JOBS_URL": valkey.url,
        "TAMER_BROKER_URL": f"redis+socket://{valkey.socket}?virtual_host=1",
        "TAMER_LOG_LEVEL": "warning",
    }
    settings = Settings(
        home=home,
        database_url=environment["TAMER_DATABASE_URL"],
        jobs_url=valkey.url,
        broker_url=environment["TAMER_BROKER_URL"],
    )
    await upgrade(settings)
    database, jobs = Database(settings), connect(settings.jobs)
    try:
        fleet = await settle(database, size, home, _IDLE_S)
        cluster.execute("ANALYZE", name)
        await add_machines(jobs, fleet.replicas_on)
        hands, demand = Hands(database, jobs), Demand(jobs, fleet.deployments)
        log = home / "children.log"
        ask = partial(cluster.fetch, name)
        yield Cell(settings, environment, database, ask, jobs, fleet, hands, demand, log)
    finally:
        await jobs.aclose()
        await database.close()


async def quiet(controller: ControllerProcess, passes: int, limit_s: float) -> None:
    """Wait until so many passes one after the other have changed nothing.

    Raises:
        TooSlow: that takes too long, or it has ended.
    """

    def is_quiet() -> bool:
        last = controller.passes[-passes:]
        return len(last) == passes and not any(each.changed for each in last)

    await wait_for(is_quiet, limit_s, f"{passes} quiet passes")


async def wait_for(done: Callable[[], bool], limit_s: float, what: str) -> None:
    """
    Raises:
        TooSlow: it is not done in time.
    """
    deadline_s = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > deadline_s:
            raise TooSlow(f"no {what} within {limit_s:.0f} s")
        await asyncio.sleep(_LOOK_S)
