"""Rollouts over real rows, a real queue and scripted agents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import update

from control_plane.api.deployments.rollout import change_revision
from control_plane.store.clock import read_clock
from control_plane.store.leases import break_lease
from control_plane.store.repositories import rollouts
from control_plane.store.repositories.replicas import live_of
from control_plane.store.repositories.revisions import find_or_add
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Model, Operation, Rollout
from infra import outcomes
from infra.cloud.base import CloudError, CloudInstance, LaunchRequest
from infra.settings import Settings
from infra.states import ReplicaState, RolloutState
from infra.wire import Route
from tests.control_plane.controller.cell import Cell
from tests.control_plane.controller.scripted_agent import ScriptedAgent

_AT_ONCE = {"strategy": "canary", "steps": [10, 100], "step_s": 0.0}
_LONG = {"strategy": "canary", "steps": [10, 100], "step_s": 3600.0}
_HALF = {**_LONG, "steps": [50, 100]}
_JUDGED = {**_LONG, "rollback_on": "errors"}


class Rolling:
    """A deployment that serves with two replicas, and another revision for it."""

    def __init__(self, cell: Cell, model: Model, chat: Deployment) -> None:
        self.cell = cell
        self.model = model
        self.chat = chat
        self.old = chat.revision_id
        self._counting = False

    async def begin(self, rollout: dict[str, Any], *, again: bool = False) -> str:
        """As the API writes it; returns the new revision."""
        async with self.cell.database.transaction() as session:
            row = await session.get_one(Deployment, self.chat.id)
            now = await read_clock(session)
            options = {"max_context_tokens": 512, "max_running": 2}
            revision = await find_or_add(session, row.id, self.model, "paced", options, now)
            spec = {**row.spec, "model": "new", "rollout": rollout}
            await change_revision(session, row, spec, revision.id, now, again)
            row.generation += 1
            break_lease(row)
        return revision.id

    async def abort(self) -> None:
        """As the API writes it."""
        async with self.cell.database.transaction() as session:
            row = await session.get_one(Deployment, self.chat.id)
            rollout = await rollouts.open_of(session, row.id)
            assert rollout is not None
            percent = await rollouts.traffic_of(session, rollout, row.spec)
            to, said = RolloutState.ABORTED, "aborted"
            await rollouts.go_back(session, row, rollout, to, said, said, {}, percent)
            break_lease(row)

    async def deploy_the_old_one_again(self) -> None:
        async with self.cell.database.transaction() as session:
            row = await session.get_one(Deployment, self.chat.id)
            now = await read_clock(session)
            await change_revision(session, row, row.spec, self.old, now, again=False)
            row.generation += 1
            break_lease(row)

    async def now(self) -> Rollout:
        async with self.cell.database.snapshot() as session:
            found = await rollouts.newest_of(session, self.chat.id)
        assert found is not None
        return found

    async def until(self, state: str, percent: int) -> Rollout:
        async def reached() -> bool:
            if self._counting:
                await outcomes.publish(self.cell.jobs, {})
            found = await self.now()
            return (found.state, found.percent) == (state, percent)

        await self.cell.until(reached)
        return await self.now()

    async def ready(self) -> dict[str, int]:
        """Revision -> replicas that serve."""
        rows = [each for each in await self.cell.replicas() if each.state == "ready"]
        ids = [each.revision_id for each in rows]
        return {each: ids.count(each) for each in ids}

    async def route(self) -> Route:
        await self.cell.controller.project()
        projection = await self.cell.projections.next(1.0)
        assert projection is not None
        return projection.routes[0]

    async def weights(self) -> dict[str, int]:
        return {each.revision_id: each.weight for each in (await self.route()).targets}

    async def told(self) -> list[tuple[str, str]]:
        """The decisions about rollouts, oldest first."""
        found = await self.cell.decisions(self.chat, "rollout")
        return [(each.reason, each.formula) for each in found]

    async def ended(self, revision_id: str, requests: int, errors: int = 0) -> None:
        """Gateways say so, and are heard from then on."""
        self._counting = True
        sums = {"requests": requests, "errors": errors}
        await outcomes.publish(self.cell.jobs, {revision_id: sums})


@pytest.fixture
async def rolling(cell: Cell) -> Rolling:
    model = await cell.model()
    chat = await cell.deploy(model, min_replicas=2)
    async with cell.database.transaction() as session:
        row = await session.get_one(Deployment, chat.id)
        row.spec = {**row.spec, "model": "old"}
    await cell.until_state(chat, "ready")
    return Rolling(cell, model, chat)


def fails(agent: ScriptedAgent) -> None:
    agent.becomes = ReplicaState.FAILED


async def test_a_canary_takes_its_share_then_all_and_the_old_replicas_go(rolling: Rolling) -> None:
    new = await rolling.begin(_LONG)
    await rolling.until("watching", 10)
    assert await rolling.weights() == {rolling.old: 90, new: 10}
    assert (await rolling.cell.deployment(rolling.chat)).state == "updating"
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2, new: 1}

    async with rolling.cell.database.transaction() as session:  # as if an hour had passed
        (await session.get_one(Rollout, (await rolling.now()).id)).state_at -= 3600.0
    await rolling.until("watching", 100)
    assert await rolling.weights() == {new: 100}
    async with rolling.cell.database.transaction() as session:
        (await session.get_one(Rollout, (await rolling.now()).id)).state_at -= 3600.0
    await rolling.until("finished", 100)
    await rolling.cell.until_state(rolling.chat, "ready")
    await rolling.cell.quiet()
    assert await rolling.ready() == {new: 2}
    reasons = [reason for reason, _ in await rolling.told()]
    shifted, passed = "traffic_shifted", "step_passed"
    assert reasons == [shifted, passed, shifted, "finished"]


async def test_blue_green_shifts_nothing_before_all_of_the_new_are_ready(rolling: Rolling) -> None:
    rolling.cell.script = lambda agent: setattr(agent, "becomes", ReplicaState.LOADING)
    new = await rolling.begin({"strategy": "blue_green", "hold_s": 3600.0})
    await rolling.cell.quiet()
    late = [each for each in rolling.cell.agents.values() if each.becomes == ReplicaState.LOADING]
    assert len(late) == 2
    late[0].becomes = ReplicaState.READY
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2, new: 1}
    assert await rolling.weights() == {rolling.old: 100}
    late[1].becomes = ReplicaState.READY
    await rolling.until("watching", 100)
    assert await rolling.weights() == {new: 100}
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2, new: 2}


async def test_replacing_never_has_fewer_ready_than_the_target(rolling: Rolling) -> None:
    new = await rolling.begin({"strategy": "replace"})
    fewest, most = 9, 0

    async def finished() -> bool:
        nonlocal fewest, most
        fewest = min(fewest, sum((await rolling.ready()).values()))
        live = [each for each in await rolling.cell.replicas() if each.state != "draining"]
        most = max(most, len(live))
        return (await rolling.now()).state == "finished"

    await rolling.cell.until(finished)
    await rolling.cell.quiet()
    assert (fewest, most) == (2, 3)
    assert await rolling.ready() == {new: 2}


@pytest.mark.parametrize("strategy", ["replace", "blue_green", "canary"])
async def test_a_revision_that_cannot_start_is_rolled_back_while_the_old_one_serves(
    rolling: Rolling, strategy: str
) -> None:
    rolling.cell.script = fails
    new = await rolling.begin({"strategy": strategy})
    await rolling.until("rolled_back", 0)
    rolling.cell.script = lambda agent: None
    chat = await rolling.cell.until_state(rolling.chat, "ready")
    await rolling.cell.quiet()
    assert (chat.revision_id, chat.spec["model"]) == (rolling.old, "old")
    assert chat.spec["scaling"]["min_replicas"] == 2
    assert await rolling.ready() == {rolling.old: 2}
    assert await rolling.weights() == {rolling.old: 100}
    [(reason, formula)] = await rolling.told()
    assert reason == "cannot_start"
    assert "3 starts in a row failed, the last: the script says so" in formula
    [decision] = await rolling.cell.decisions(chat, "rollout")
    assert decision.outcome == {"state": "rolled_back", "revision": rolling.old, "left": new}


@pytest.mark.parametrize("strategy", ["replace", "blue_green", "canary"])
async def test_a_revision_whose_machines_never_come_is_rolled_back(
    rolling: Rolling, strategy: str
) -> None:
    rolling.cell.cloud.refuses, rolling.cell.cloud.may_pass = "the credentials are bad", True
    new = await rolling.begin({"strategy": strategy})
    await rolling.cell.quiet()
    assert (await rolling.now()).state == "preparing"
    async with rolling.cell.database.transaction() as session:  # as if an hour had passed
        for each in await live_of(session, rolling.chat.id):
            each.created_at -= 3601.0
    ended = await rolling.until("rolled_back", 0)
    assert "the limit is 3600 s: the credentials are bad" in ended.reason
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2}
    assert [each.revision_id for each in await rolling.cell.replicas()] == [rolling.old] * 2
    assert new not in await rolling.weights()


async def test_a_canary_does_not_wait_while_its_deployment_is_at_zero(cell: Cell) -> None:
    model = await cell.model()
    chat = await cell.deploy(model, idle_s=0.2)
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    await cell.settle_job(chat, "job-1")
    await cell.until_state(chat, "idle")
    await cell.quiet()
    rolling = Rolling(cell, model, chat)
    await rolling.begin({**_LONG, "ready_limit_s": 60.0})
    async with cell.database.transaction() as session:  # as if a day had passed
        (await session.get_one(Rollout, (await rolling.now()).id)).state_at -= 86_400.0
    await cell.quiet()
    assert (await rolling.now()).state == "preparing"
    await cell.offer(chat, "job-2")
    await rolling.until("watching", 10)


async def test_errors_beyond_chance_roll_a_canary_back(rolling: Rolling) -> None:
    await rolling.ended(rolling.old, 1000, 10)
    new = await rolling.begin(_JUDGED)
    await rolling.until("watching", 10)
    await rolling.ended(rolling.old, 200, 2)
    await rolling.ended(new, 19, 9)  # too few to look at
    await rolling.cell.quiet()
    assert (await rolling.now()).state == "watching"
    await rolling.ended(new, 1, 0)
    ended = await rolling.until("rolled_back", 0)
    assert "9 of 20 requests failed, of the old 2 of 200: Fisher p" in ended.reason
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2}


async def test_a_judged_canary_does_not_go_on_while_no_gateway_counts(rolling: Rolling) -> None:
    await rolling.begin({**_AT_ONCE, "rollback_on": "errors"})
    await rolling.cell.quiet()
    held = await rolling.now()
    assert (held.state, held.percent) == ("preparing", 0)
    await rolling.ended(rolling.old, 1)
    await rolling.until("finished", 100)


async def test_at_zero_a_canary_waits_and_then_starts_beside_the_old_one(cell: Cell) -> None:
    model = await cell.model()
    chat = await cell.deploy(model, idle_s=0.2)
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    await cell.settle_job(chat, "job-1")
    await cell.until_state(chat, "idle")
    await cell.quiet()
    rolling = Rolling(cell, model, chat)
    new = await rolling.begin(_LONG)
    await cell.quiet()
    assert await rolling.weights() == {rolling.old: 100}
    await cell.offer(chat, "job-2")
    await rolling.until("watching", 10)
    assert await rolling.weights() == {rolling.old: 90, new: 10}
    await cell.settle_job(chat, "job-2")
    asleep = await rolling.until("preparing", 10)
    assert asleep.watched_s > 0
    await cell.offer(chat, "job-3")
    awake = await rolling.until("watching", 10)
    assert awake.watched_s == asleep.watched_s


async def test_a_third_revision_replaces_the_new_one_and_comes_from_the_old_one(
    rolling: Rolling,
) -> None:
    await rolling.begin(_LONG)
    await rolling.until("watching", 10)
    first = await rolling.now()
    async with rolling.cell.database.transaction() as session:
        row = await session.get_one(Deployment, rolling.chat.id)
        now = await read_clock(session)
        third = await find_or_add(session, row.id, rolling.model, "paced", {"max_running": 2}, now)
        await change_revision(session, row, row.spec, third.id, now, again=False)
        row.generation += 1
    second = await rolling.until("watching", 10)
    assert second.id != first.id
    assert (second.from_revision_id, second.to_revision_id) == (rolling.old, third.id)
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2, third.id: 1}


async def test_two_controllers_never_make_a_step_twice(
    rolling: Rolling, migrated_settings: Settings
) -> None:
    opened = [Database(migrated_settings) for _ in range(2)]
    others = [rolling.cell.new_controller(each) for each in opened]
    await rolling.begin({**_AT_ONCE, "steps": [10, 20, 40, 100]})

    async def finished() -> bool:
        await asyncio.gather(*(each.reconcile() for each in others))
        return (await rolling.now()).state == "finished"

    await rolling.cell.until(finished)
    reasons = [reason for reason, _ in await rolling.told()]
    assert reasons == [*["traffic_shifted", "step_passed"] * 3, "traffic_shifted", "finished"]
    for each in opened:
        await each.close()


async def test_a_deployment_that_is_deleted_takes_its_rollout_with_it(rolling: Rolling) -> None:
    await rolling.begin(_LONG)
    await rolling.until("watching", 10)
    async with rolling.cell.database.transaction() as session:
        (await session.get_one(Deployment, rolling.chat.id)).state = "deleting"
    await rolling.cell.until_state(rolling.chat, "deleted")
    assert (await rolling.now()).state == "superseded"


async def test_one_that_is_deleted_at_zero_between_two_nouns_takes_its_rollout_with_it(
    cell: Cell,
) -> None:
    model = await cell.model()
    chat = await cell.deploy(model, idle_s=0.2)
    await cell.offer(chat, "job-1")
    await cell.until_state(chat, "ready")
    await cell.settle_job(chat, "job-1")
    await cell.until_state(chat, "idle")
    rolling = Rolling(cell, model, chat)
    await rolling.begin(_LONG)
    await cell.quiet()
    async with cell.database.transaction() as session:
        (await session.get_one(Deployment, chat.id)).state = "deleting"
    # As where its user's word comes after the rollouts' turn in a pass.
    deployments = next(e for e in cell.controller._reconcilers if e.name == "deployment")
    cell.controller._live.forget()
    await deployments.run(None)
    assert (await cell.deployment(chat)).state == "deleted"
    await cell.quiet()
    assert (await rolling.now()).state == "superseded"


def loads(agent: ScriptedAgent) -> None:
    agent.becomes = ReplicaState.LOADING


@pytest.mark.parametrize("word", ["abort", "deploy_the_old_one_again"])
async def test_half_way_back_the_old_replicas_come_before_their_traffic(
    rolling: Rolling, word: str
) -> None:
    new = await rolling.begin(_HALF)
    await rolling.until("watching", 50)
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 1, new: 1}

    rolling.cell.script = loads
    await getattr(rolling, word)()
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 1, new: 1}
    assert await rolling.weights() == {rolling.old: 100, new: 100}
    chat = await rolling.cell.deployment(rolling.chat)
    assert (chat.revision_id, chat.state) == (rolling.old, "updating")

    for agent in rolling.cell.agents.values():
        agent.becomes = ReplicaState.READY
    await rolling.cell.until_state(rolling.chat, "ready")
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2}
    assert await rolling.weights() == {rolling.old: 100}
    assert (await rolling.told())[-1] == ("handed_back", "2 of 2 replicas ready")
    assert (await rolling.now()).percent == 0


async def test_what_replaces_gives_way_as_the_old_replicas_return(rolling: Rolling) -> None:
    new = await rolling.begin({"strategy": "replace"})

    async def one_of_two() -> bool:
        return await rolling.ready() == {rolling.old: 1, new: 1}

    await rolling.cell.until(one_of_two)
    rolling.cell.script = loads
    await rolling.abort()
    await rolling.cell.controller.reconcile()
    assert (await rolling.weights()).keys() == {rolling.old, new}
    rolling.cell.script = lambda agent: None
    for agent in rolling.cell.agents.values():
        agent.becomes = ReplicaState.READY
    await rolling.cell.until_state(rolling.chat, "ready")
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 2}


async def test_what_fails_requests_loses_its_traffic_at_once(rolling: Rolling) -> None:
    await rolling.ended(rolling.old, 1000, 10)
    new = await rolling.begin({**_JUDGED, "steps": [50, 100]})
    await rolling.until("watching", 50)
    await rolling.cell.quiet()
    rolling.cell.script = loads
    await rolling.ended(new, 20, 19)
    await rolling.until("rolled_back", 0)
    assert await rolling.weights() == {rolling.old: 100}


async def test_a_third_revision_does_not_take_the_traffic_of_the_second_from_who_serves_it(
    rolling: Rolling,
) -> None:
    second = await rolling.begin(_HALF)
    await rolling.until("watching", 50)
    await rolling.cell.quiet()
    rolling.cell.script = loads
    async with rolling.cell.database.transaction() as session:
        row = await session.get_one(Deployment, rolling.chat.id)
        now = await read_clock(session)
        third = await find_or_add(session, row.id, rolling.model, "paced", {"max_running": 2}, now)
        await change_revision(session, row, row.spec, third.id, now, again=False)
        row.generation += 1
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 1, second: 1}
    assert (await rolling.weights()).keys() == {rolling.old, second}
    for agent in rolling.cell.agents.values():
        agent.becomes = ReplicaState.READY
    rolling.cell.script = lambda agent: None
    await rolling.until("watching", 50)
    await rolling.cell.quiet()
    assert await rolling.ready() == {rolling.old: 1, third.id: 1}
    assert await rolling.weights() == {rolling.old: 50, third.id: 50}


async def test_what_no_controller_can_read_can_be_deleted_all_the_same(rolling: Rolling) -> None:
    """As a specification that a newer version has written."""
    await rolling.begin(_LONG)
    await rolling.until("watching", 10)
    async with rolling.cell.database.transaction() as session:
        row = await session.get_one(Deployment, rolling.chat.id)
        scaling = {"min_replicas": 3, "max_replicas": 2}
        row.spec = {**row.spec, "rollout": {"strategy": "as never before"}, "scaling": scaling}
    await rolling.cell.quiet()
    assert (await rolling.route()).name == "chat", "gateways are told all the same"
    async with rolling.cell.database.transaction() as session:
        (await session.get_one(Deployment, rolling.chat.id)).state = "deleting"
    await rolling.cell.until_state(rolling.chat, "deleted")
    await rolling.cell.quiet()
    assert rolling.cell.cloud.alive() == []
    assert (await rolling.now()).state == "superseded"


@pytest.mark.parametrize(("surge", "replicas"), [(0, 1), (0, 2), (1, 2)])
async def test_where_there_is_no_room_and_no_pause_what_may_be_missing_makes_room(
    rolling: Rolling, monkeypatch: pytest.MonkeyPatch, surge: int, replicas: int
) -> None:
    """Traffic leaves the last old replica, though the new one is not all there."""
    cell, launch = rolling.cell, rolling.cell.cloud.launch

    async def launch_where_there_is_room(request: LaunchRequest) -> CloudInstance:
        if request.instance_id not in cell.cloud.requests and len(cell.cloud.alive()) >= replicas:
            raise CloudError("every slot is taken", retryable=True)
        return await launch(request)

    monkeypatch.setattr(cell.cloud, "launch", launch_where_there_is_room)
    async with cell.database.transaction() as session:
        row = await session.get_one(Deployment, rolling.chat.id)
        row.override_replicas, row.override_until = replicas, 1e12
    await cell.quiet()
    await cell.offer(rolling.chat, "job-1")
    new = await rolling.begin({"strategy": "replace", "max_surge": surge, "max_unavailable": 1})

    async def finished() -> bool:
        await cell.controller.project()
        told = await cell.projections.next(0.01)
        targets = told.routes[0].targets if told is not None else ()
        if targets and rolling.old not in {each.revision_id for each in targets}:
            # Until then there is always another request.
            await cell.settle_job(rolling.chat, "job-1")
        async with cell.database.transaction() as session:  # a launch is tried again at once
            await session.execute(update(Operation).values(send_after=0.0))
        return (await rolling.now()).state == "finished"

    await cell.until(finished)
    await cell.quiet()
    assert await rolling.ready() == {new: replicas}
