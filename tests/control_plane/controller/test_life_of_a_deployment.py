"""The whole state machine over real rows and a real queue."""

from __future__ import annotations

from control_plane.store.tables import Deployment, Replica
from infra.queue.queue import JobQueue
from infra.states import ReplicaState
from tests.control_plane.controller.cell import Cell


async def test_a_deployment_goes_from_zero_to_one_and_back_to_zero(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), idle_s=0.3)
    await cell.quiet()
    assert (await cell.deployment(chat)).state == "idle"
    assert await cell.instances() == []

    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    [replica] = await cell.replicas()
    assert (replica.state, replica.ready_at is not None) == ("ready", True)
    assert cell.cloud.alive() == [replica.instance_id]

    await cell.settle_job(chat, "job-1")
    await cell.until_state(chat, "idle")

    async def nothing_runs() -> bool:
        return not (await cell.instances() or cell.cloud.alive())

    await cell.until(nothing_runs)
    assert await cell.replicas() == []


async def test_every_change_of_the_number_of_replicas_is_explained(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), idle_s=0.2)
    await cell.quiet()
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    await cell.settle_job(chat, "job-1")
    await cell.until_state(chat, "idle")

    told = [(each.reason, each.outcome["target_replicas"]) for each in await cell.decisions(chat)]
    assert [told[0], told[1], told[-1]] == [("idle", 0), ("from_zero", 1), ("idle", 0)]
    assert "1 pending / 2 a replica" in (await cell.decisions(chat))[1].formula


async def test_a_pass_over_what_is_as_it_should_be_changes_nothing(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    await cell.quiet()
    before = await cell.deployment(chat)
    assert [await cell.controller.reconcile() for _ in range(3)] == [0, 0, 0]
    assert (await cell.deployment(chat)).updated_at == before.updated_at


async def test_pending_jobs_decide_how_many_replicas_there_are(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), max_replicas=3)
    for number in range(5):  # two run at once on a replica
        await cell.offer(chat, f"job-{number}")
    await cell.until_state(chat, "ready")
    assert len(cell.cloud.alive()) == 3


async def test_deleting_a_deployment_drains_it_and_ends(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    agents = list(cell.agents.values())

    async with cell.database.transaction() as session:
        (await session.get_one(Deployment, chat.id)).state = "deleting"
    await cell.controller.reconcile()
    await cell.beat()
    assert [spec.draining for agent in agents for spec in agent.assignment.replicas] == [True]

    await cell.until_state(chat, "deleted")

    async def nothing_runs() -> bool:
        return not (await cell.instances() or cell.cloud.alive())

    await cell.until(nothing_runs)


async def test_jobs_that_outlive_their_deployment_are_told_so(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model())
    await cell.offer(chat, "job-1")
    async with cell.database.transaction() as session:
        (await session.get_one(Deployment, chat.id)).state = "deleting"
    await cell.until_state(chat, "deleted")
    ended = (await JobQueue(cell.jobs, chat.revision_id).attend("gateway", 60.0)).ended
    assert ended == {"job-1": "failed: deployment_deleted"}


async def test_a_replica_that_does_not_drain_is_ended_by_force(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [agent] = cell.agents.values()
    agent.silent = True  # deaf, but its last word is still there
    async with cell.database.transaction() as session:
        (await session.get_one(Deployment, chat.id)).state = "deleting"
    await cell.quiet()
    assert [each.state for each in await cell.replicas()] == ["draining"]

    async with cell.database.transaction() as session:  # as if a minute had passed
        for each in await cell.replicas():
            (await session.get_one(Replica, each.id)).updated_at -= 60.0
    await cell.until_state(chat, "deleted")


async def test_a_new_revision_takes_over_when_one_of_its_replicas_is_ready(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    [old] = await cell.replicas()
    loading = ReplicaState.LOADING
    cell.script = lambda agent: setattr(agent, "becomes", loading)
    await cell.change(chat, max_context_tokens=512)
    await cell.until_state(chat, "updating")
    await cell.controller.project()
    projection = await cell.projections.next(1.0)
    assert projection is not None
    assert [each.revision_id for each in projection.routes[0].targets] == [old.revision_id]

    cell.script = lambda agent: None
    for agent in cell.agents.values():
        agent.becomes = ReplicaState.READY
    wanted = (await cell.until_state(chat, "ready")).revision_id
    await cell.quiet()
    assert [each.revision_id for each in await cell.replicas()] == [wanted]
    await cell.controller.project()
    projection = await cell.projections.next(1.0)
    assert projection is not None
    assert [each.revision_id for each in projection.routes[0].targets] == [wanted]


async def test_jobs_of_an_old_revision_are_finished_before_its_replicas_go(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model(), min_replicas=1)
    await cell.until_state(chat, "ready")
    await cell.offer(chat, "job-1")
    [old] = await cell.replicas()
    await cell.change(chat, max_context_tokens=512)
    await cell.until_state(chat, "ready")
    await cell.quiet()
    assert old.id in [each.id for each in await cell.replicas()]
    await JobQueue(cell.jobs, old.revision_id).lease(old.id, 1, 100, 60.0)
    await cell.settle_job(chat, "job-1")
    await cell.quiet()
    assert old.id not in [each.id for each in await cell.replicas()]
