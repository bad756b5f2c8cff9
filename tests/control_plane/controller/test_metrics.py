from __future__ import annotations

from control_plane.controller.census import Census
from control_plane.controller.deployment import DeploymentReconciler
from control_plane.store.session import Database
from tests.control_plane.controller.cell import Cell
from tests.fixtures.metric_samples import value


async def test_queues_and_passes_are_measured(cell: Cell) -> None:
    deployment = await cell.deploy(await cell.model(), "measured", max_replicas=1)
    await cell.offer(deployment, "job-1")
    await cell.offer(deployment, "job-2")
    passes = value("controller_pass_duration_seconds_count")
    await cell.controller.reconcile()
    assert value("controller_pass_duration_seconds_count") == passes + 1
    where = {"deployment": "measured", "revision": deployment.revision_id}
    assert value("queue_jobs", **where, state="queued") == 2
    assert value("queue_oldest_wait_seconds", **where) >= 0


async def test_the_census_counts_what_has_not_ended_by_state(cell: Cell) -> None:
    deployment = await cell.deploy(await cell.model(), "counted", min_replicas=2)
    await cell.controller.reconcile()
    await Census(cell.database).run(None)
    replicas = await cell.replicas()
    assert len(replicas) == 2
    states = {each.state for each in replicas}
    told = sum(value("replicas", deployment=deployment.name, state=each) for each in states)
    assert told == 2
    assert sum(value("instances", state=each.state) for each in (await cell.instances())[:1]) == 2
    launches = [value("operations", kind="launch_instance", state=each) for each in ("pending",)]
    assert launches == [2]


async def test_a_noun_that_fails_is_counted(cell: Cell) -> None:
    class Broken(DeploymentReconciler):
        def __init__(self) -> None:
            self._database: Database = cell.database

        async def run(self, world: object, /) -> int:
            raise OSError("away")

    before = value("reconcile_errors_total", noun="deployment")
    await cell.controller._run(Broken(), None)
    assert value("reconcile_errors_total", noun="deployment") == before + 1
