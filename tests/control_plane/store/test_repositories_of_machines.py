"""As `test_repositories`, for the rows that controllers and workers write."""

from __future__ import annotations

from pytest import approx

from control_plane.store.repositories import (
    instances,
    joins,
    listings,
    machines,
    operations,
    replicas,
    starts,
)
from control_plane.store.repositories.listings import Page
from control_plane.store.repositories.operations import OperationKind, OperationState
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Instance, Machine, Operation
from infra.states import InstanceState, ReplicaState
from tests.control_plane.store.exercised import every_function_of
from tests.control_plane.store.rows import (
    add_deployment,
    add_instance,
    add_model,
    add_replica,
    add_revision,
)


async def test_instances(database: Database) -> None:
    requested, launching = InstanceState.REQUESTED, InstanceState.LAUNCHING
    with every_function_of(instances):
        async with database.transaction() as session:
            one = await instances.add(session, "local", "process", "here", "on-demand")
            replica = await add_replica(session)
            replica.instance_id = one.id
            assert not await instances.expect_join(session, one.id, "hash", 60.0)
            assert await instances.move(session, one.id, requested, launching, "now")
            assert not await instances.move(session, one.id, requested, launching, "again")
            assert await instances.expect_join(session, one.id, "hash", 60.0)
            await instances.launched(session, one.id, "local-1", {"zone": "there"})
            await instances.change_assignment(session, one.id)
            await instances.refuse(session, one.id, "no capacity")
        async with database.snapshot() as session:
            [row] = await instances.live(session)
            assert (row.zone, row.refused) == ("there", True)
            assert await instances.by_cloud_id(session, "local", "local-1") is row
            assert await instances.newest_joins_s(session, "local", 9) == []
            assert await instances.by_cloud_id(session, "local", "local-2") is None
            assert (await instances.by_id(session, [one.id, "ins-none"])) == {one.id: row}
            assert await instances.live_among(session, [one.id, "ins-none"]) == [row]
            assert list(await instances.versions(session)) == [one.id]
            assert (row.state, row.join_token_hash, row.cloud_id) == (
                "launching",
                "hash",
                "local-1",
            )
            told = await instances.assignment(session, one.id)
            assert told is not None and (told.version, told.leave) == (2, False)
            assert [each.replica_id for each in told.replicas] == [replica.id]
            assert await instances.assignment(session, "ins-none") is None
        async with database.transaction() as session:
            kept_for = replica.deployment_id
            assert not await instances.keep(session, one.id, kept_for), "it has not joined"
            (await session.get_one(Instance, one.id)).state = "joined"
            await session.flush()
            assert await instances.keep(session, one.id, kept_for)
            assert [each.id for each in await instances.kept_for(session, kept_for)] == [one.id]
            told = await instances.assignment(session, one.id)
            assert told is not None and (told.version, told.standby) == (3, "")
            deployment = await session.get_one(Deployment, kept_for)
            deployment.spec = {**deployment.spec, "scaling": {"keep_warm": "standby"}}
            await session.flush()
            told = await instances.assignment(session, one.id)
            assert told is not None and told.standby == "paced"


async def test_machines(database: Database) -> None:
    with every_function_of(machines):
        await _let_one_in(database)
        await _fill_its_slots(database)
        async with database.transaction() as session:
            [machine] = (await listings.machines(session, Page())).rows
            removed = await machines.remove(session, machine.id)
            assert removed is not None and removed.name == "spare"
        async with database.transaction() as session:
            assert await machines.remove(session, machine.id) is None


async def _let_one_in(database: Database) -> None:
    async with database.transaction() as session:
        late = await machines.add(session, "late", "late-hash", -1.0)
        machine = await machines.add(session, "spare", "hash", 60.0)
        assert await machines.lock_by_token(session, "late-hash") is None
        found = await machines.lock_by_token(session, "hash")
        assert found is not None and found.id == machine.id
        assert await machines.lock_by_credential(session, "secret") is None
        machine.token_hash, machine.credential_hash = None, "secret"
        first = await machines.begin_instance(session, machine, "cpu", {})
        assert (first.cloud, first.cloud_id, first.state) == ("joined", machine.id, "joined")
    async with database.transaction() as session:
        await machines.forget_uninvited(session)
        assert await session.get(Machine, late.id) is None
        assert await machines.lock_by_token(session, "hash") is None
        for known in (
            await machines.lock_by_credential(session, "secret"),
            await machines.of_credential(session, "secret"),
        ):
            assert known is not None and known.id == machine.id
        present = await machines.present(session, machine.id)
        assert present is not None and present.id == first.id
        seen, lost = InstanceState.JOINED, InstanceState.LOST
        assert await instances.move(session, first.id, seen, lost, "silent")
        assert await machines.present(session, machine.id) is None
        second = await machines.begin_instance(session, machine, "cpu", {})
    async with database.snapshot() as session:
        newest = await machines.newest_instances(session, [machine.id, "mac-none"])
    assert {id: each.id for id, each in newest.items()} == {machine.id: second.id}


async def _fill_its_slots(database: Database) -> None:
    async with database.transaction() as session:
        [machine] = (await listings.machines(session, Page())).rows
        two = await machines.begin_instance(session, machine, "cpu", {"devices": ["cpu", "cpu"]})
        one = await machines.begin_instance(session, machine, "cuda", {"devices": ["cuda:0"]})
        heard = [two.id, one.id]
        model = await add_model(session)
        model.uri = "file:///models/digest-tiny"
        deployment = await add_deployment(session, model)
        on: list[str] = []
        while slot := await machines.lock_slot(session, heard):
            replica = await add_replica(session, deployment)
            replica.instance_id = slot.id
            await session.flush()
            on.append(slot.id)
        assert on[0] == two.id
        assert sorted(on) == sorted([two.id, two.id, one.id])
        requested, failed = ReplicaState.REQUESTED, ReplicaState.FAILED
        assert await replicas.move(session, replica.id, requested, failed, "it ended")
        free = await machines.lock_slot(session, heard)
        assert free is not None and free.id == on[-1]
        assert await machines.lock_slot(session, []) is None
        kept_for = deployment.id
        assert await machines.lock_kept(session, kept_for, heard) is None
        assert await instances.keep(session, on[-1], kept_for)
        kept = await machines.lock_kept(session, kept_for, heard)
        assert kept is not None and kept.id == on[-1]
        assert await machines.lock_kept(session, kept_for, []) is None, "not heard"
        told = await instances.assignment(session, two.id)
        assert told is not None
        assert {each.model_uri for each in told.replicas} == {"tamer://models/digest-tiny"}


async def test_joins(database: Database) -> None:
    async with database.transaction() as session:
        instance = await add_instance(session)
        seen = InstanceState.REQUESTED
        await instances.move(session, instance.id, seen, InstanceState.LAUNCHING, "")
        await instances.expect_join(session, instance.id, "hash", 60.0)
    with every_function_of(joins):
        async with database.transaction() as session:
            assert await joins.lock_by_hash(session, "another") is None
            found = await joins.lock_by_hash(session, "hash")
            assert found is not None and found.id == instance.id
            assert await joins.take(session, instance.id, "hash", "repeated", {"cpu_count": 2})
            assert not await joins.take(session, instance.id, "hash", None, {})
            repeated = await joins.lock_by_hash(session, "repeated")
            assert repeated is not None and repeated.id == instance.id


async def test_operations(database: Database) -> None:
    launch, other = OperationKind.LAUNCH_INSTANCE, OperationKind.IMPORT_MODEL
    with every_function_of(operations):
        async with database.transaction() as session:
            one = await operations.add(session, launch, "ins-1", "launch:ins-1", 60.0)
            late = await operations.add(session, other, "mod-1", "import:mod-1", -1.0)
            again = await operations.add(session, launch, "ins-1", "launch:ins-1", 60.0)
            ending = await operations.add_termination(session, "ins-1", 60.0)
            assert (await operations.add_termination(session, "ins-1", 60.0)).id == ending.id
            ends = OperationKind.TERMINATE_INSTANCE
            assert (await operations.add_another(session, ends, "ins-1", 60.0)).id == ending.id
            assert again.id == one.id
            newest = await operations.newest_of(session, ["ins-1", "ins-2"], launch)
            assert {id: each.id for id, each in newest.items()} == {"ins-1": one.id}
        async with database.transaction() as session:
            assert [each.id for each in await operations.due(session)] == [one.id, ending.id]
            assert [each.id for each in await operations.overdue(session)] == [late.id]
            assert await operations.book_sendings(session, [one], 60.0) == [one]
            assert await operations.book_sendings(session, [one], 60.0) == []
            assert [each.id for each in await operations.due(session)] == [ending.id]
            await operations.send_in(session, [one.id], -1.0)
            assert len(await operations.due(session)) == 2
        async with database.transaction() as session:
            claimed = await operations.claim(session, one.id, 60.0)
            assert claimed is not None and claimed[0].attempts == 1
            assert await operations.claim(session, one.id, 60.0) is None
            token = claimed[1]
            assert await operations.is_worked_on(session, launch)
            assert not await operations.is_worked_on(session, ends)
            assert await operations.report(session, one.id, token, {"phase": "p"}, 60.0)
            assert await operations.postpone(session, one.id, token, "away", -1.0)
            assert not await operations.report(session, one.id, token, {}, 60.0)
        async with database.transaction() as session:
            claimed = await operations.claim(session, one.id, 60.0)
            assert claimed is not None
            done = OperationState.SUCCEEDED
            assert await operations.finish(session, one.id, claimed[1], done)
            assert not await operations.expire(session, one.id, "too late")
        async with database.transaction() as session:
            (await session.get_one(Operation, late.id)).error = "before"
            await session.flush()
            assert await operations.expire(session, late.id, "too late")
    async with database.snapshot() as session:
        finished, expired = [await session.get_one(Operation, each.id) for each in (one, late)]
    assert (finished.state, finished.attempts, finished.lock_token) == ("succeeded", 2, None)
    assert (expired.state, expired.error) == ("failed", "before; too late")


async def test_replicas(database: Database) -> None:
    requested, launching, failed = (
        ReplicaState.REQUESTED,
        ReplicaState.LAUNCHING,
        ReplicaState.FAILED,
    )
    with every_function_of(replicas):
        async with database.transaction() as session:
            model = await add_model(session)
            chat = await add_deployment(session, model)
            one = await replicas.add(session, chat)
            two = await replicas.add(session, chat)
            other = await add_revision(session, model, chat.id, exact=True)
            former = await replicas.add(session, chat, other.id)
            assert await replicas.move(session, former.id, requested, failed, "old")
            instance = await add_instance(session)
            moved = await replicas.move(
                session, one.id, requested, launching, "", instance_id=instance.id
            )
            assert moved
            assert not await replicas.move(session, one.id, requested, launching, "again")
            assert await replicas.deployments_on(session, instance.id) == [chat.id]
            assert await replicas.move(session, two.id, requested, failed, "broken")
            assert await replicas.displace(session, one.id, instance.id, "none to be had")
            assert not await replicas.displace(session, one.id, instance.id, "again")
            assert await replicas.place(session, one.id, instance.id)
            assert not await replicas.retire(session, one.id, "dear"), "it is not ready"
            assert not await replicas.place(session, one.id, instance.id)
        async with database.snapshot() as session:
            for live in (
                await replicas.live(session),
                await replicas.live_of(session, chat.id),
                await replicas.live_on(session, instance.id),
                await replicas.live_among(session, [chat.id], []),
                await replicas.live_among(session, [], [one.id, two.id]),
            ):
                assert [each.id for each in live] == [one.id]
            assert list(await replicas.versions(session)) == [one.id]
            formers = await replicas.newest_of_former(session, [chat.id], 5)
            assert [each.id for each in formers[chat.id]] == [former.id]
            ended = (await replicas.ended_unready(session, [chat.id], 5))[chat.id]
            assert [(each.id, each.reason) for each in ended] == [(two.id, "broken")]
            assert await replicas.ended_unready_leaving(session, [chat.id], 5) == {}
            of_chat = await replicas.standing_of(session, chat.id)
            assert of_chat == {one.revision_id: {"launching": 1}}
            [standing] = await replicas.standing(session)
            assert (standing.deployment_id, standing.revision_id) == (chat.id, one.revision_id)
            assert standing[2:] == ("launching", 1, one.id)


async def test_starts(database: Database) -> None:
    with every_function_of(starts):
        async with database.transaction() as session:
            replica = await add_replica(session)
            replica.instance_id = (await add_instance(session)).id
            first = await starts.begin(session, replica, 0, 1.5)
            await session.flush()
            await starts.launched(session, replica.id)
            assert [each.id for each in await starts.unclosed(session)] == [first.id]
            [opened] = await starts.open_ones(session, [first.id])
            assert (opened.start.id, opened.replica.id) == (first.id, replica.id)
            assert opened.instance is not None and opened.instance.id == replica.instance_id
            launched_at = first.launched_at
            await starts.launched(session, replica.id)
            await session.refresh(first)
            assert first.launched_at is not None and launched_at in (None, first.launched_at)
            values = {"ready_at": first.created_at + 3.0, "instance_type": "process"}
            assert await starts.write(session, first.id, values, close=True)
            assert not await starts.write(session, first.id, {"usd": 9.0}, close=True), "closed"
            assert await starts.unclosed(session) == []
            last = await starts.last_ready(session, [replica.revision_id])
            assert last == {replica.revision_id: approx(first.created_at + 3.0)}
            [sample] = await starts.boot_samples(session, replica.revision_id, 5)
            assert (sample.instance_type, sample.woken) == ("process", False)
            assert sample.seconds == approx(3.0)
            assert await starts.seconds_of_model(session, "digest-tiny", 5) == [approx(3.0)]
        async with database.transaction() as session:
            await starts.prune(session, 3600.0)
            assert len((await listings.starts(session, replica.deployment_id, Page())).rows) == 1
            await starts.prune(session, -1.0)
            assert (await listings.starts(session, replica.deployment_id, Page())).rows == []
