"""Every function of every repository, on both databases: the statements are what may differ."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from control_plane.store import repositories
from control_plane.store.clock import read_clock
from control_plane.store.repositories import (
    audit,
    counts,
    decisions,
    deployments,
    imports,
    instances,
    joins,
    keys,
    listings,
    models,
    operations,
    replicas,
    revisions,
)
from control_plane.store.repositories.listings import Page
from control_plane.store.repositories.operations import OperationKind, OperationState
from control_plane.store.session import Database
from control_plane.store.tables import Model, Operation
from infra.states import InstanceState, ReplicaState
from tests.control_plane.store.rows import (
    add_deployment,
    add_instance,
    add_model,
    add_replica,
    add_revision,
)


@contextmanager
def every_function_of(module: ModuleType) -> Iterator[None]:
    """The block calls each of them."""
    missed = {name for name, _ in _functions(module)}
    with pytest.MonkeyPatch.context() as patched:
        for name, function in _functions(module):

            def noted(*args: Any, _name: str = name, _run: Any = function, **kwargs: Any) -> Any:
                missed.discard(_name)
                return _run(*args, **kwargs)

            patched.setattr(module, name, noted)
        yield
    assert not missed


def _functions(module: ModuleType) -> list[tuple[str, Any]]:
    return [
        (name, function)
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]


def test_no_repository_is_forgotten() -> None:
    found = pkgutil.iter_modules(repositories.__path__)
    with_functions = {
        each.name
        for each in found
        if _functions(importlib.import_module(f"{repositories.__name__}.{each.name}"))
    }
    assert {f"test_{name}" for name in with_functions} <= globals().keys()


async def test_audit(database: Database) -> None:
    with every_function_of(audit):
        async with database.transaction() as session:
            await audit.record(session, "key-1", "test", "subject", {"a": [1]})
    async with database.snapshot() as session:
        [row] = (await listings.audit_events(session, Page())).rows
    assert (row.action, row.detail) == ("test", {"a": [1]})


async def test_counts(database: Database) -> None:
    async with database.transaction() as session:
        replica = await add_replica(session)
        await add_instance(session)
    with every_function_of(counts):
        async with database.snapshot() as session:
            assert await counts.models(session) == {"ready": 1}
            assert await counts.instances(session) == {"requested": 1}
            assert await counts.replicas(session) == {replica.deployment_id: {"requested": 1}}


async def test_decisions(database: Database) -> None:
    async with database.transaction() as session:
        chat = await add_deployment(session, await add_model(session))
    with every_function_of(decisions):
        async with database.transaction() as session:
            told = [await decisions.add(session, chat.id, "scale", r, "", {}, {}) for r in "abc"]
        async with database.snapshot() as session:
            newest = await decisions.newest(session, chat.id, "scale")
            assert newest is not None and newest.reason == "c"
            assert await decisions.newest(session, chat.id, "place") is None
            [page] = [await decisions.page(session, chat.id, 2, told[2].id)]
            assert [each.reason for each in page] == ["b", "a"]


async def test_the_newest_decision_is_the_last_one_by_the_database_whoever_made_its_id(
    database: Database,
) -> None:
    async with database.transaction() as session:
        chat = await add_deployment(session, await add_model(session))
        ahead = await decisions.add(session, chat.id, "scale", "a clock ahead", "", {}, {})
        ahead.id = "dec-zzzzzzzzzzzzzzzzzzzzzzzz"
    async with database.transaction() as session:
        await decisions.add(session, chat.id, "scale", "later", "", {}, {})
    async with database.snapshot() as session:
        newest = await decisions.newest(session, chat.id, "scale")
    assert newest is not None and newest.reason == "later"


async def test_deployments(database: Database) -> None:
    with every_function_of(deployments):
        async with database.transaction() as session:
            model = await add_model(session)
            revision = await add_revision(session, model, "dep-1")
            await deployments.add(session, "dep-1", "chat", {"model": "tiny"}, revision, 1.0)
            await add_deployment(session, model, "answers")
        async with database.transaction() as session:
            for look in (deployments.find, deployments.lock):
                found = await look(session, "chat")
                assert found is not None and found.revision.id == revision.id
                assert await look(session, "none") is None
            both = await deployments.all_live(session)
            assert [each.deployment.name for each in both] == ["answers", "chat"]
            assert await deployments.names_that_use(session, model) == ["answers", "chat"]


async def test_imports(database: Database) -> None:
    async with database.transaction() as session:
        good, bad = [await models.add(session, name, "pypi:x", 1.0) for name in ("good", "bad")]
    with every_function_of(imports):
        async with database.transaction() as session:
            assert await imports.source_of(session, good.id) == "pypi:x"
            await imports.complete(session, good.id, {"digest": "d", "size_bytes": 1 << 40})
            await imports.fail(session, bad.id, "broken \0 file")
            await imports.fail(session, good.id, "too late")
        async with database.snapshot() as session:
            assert await imports.source_of(session, good.id) is None
            ready, failed = [await session.get_one(Model, each.id) for each in (good, bad)]
    assert (ready.state, ready.error, ready.size_bytes) == ("ready", "", 1 << 40)
    assert (failed.state, failed.error) == ("failed", "broken \ufffd file")


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
            await instances.set_cloud_id(session, one.id, "local-1")
            await instances.change_assignment(session, one.id)
        async with database.snapshot() as session:
            [row] = await instances.live(session)
            assert (await instances.states(session, [one.id, "ins-none"])) == {one.id: row}
            assert (row.state, row.join_token_hash, row.cloud_id) == (
                "launching",
                "hash",
                "local-1",
            )
            told = await instances.assignment(session, one.id)
            assert told is not None and (told.version, told.leave) == (2, False)
            assert [each.replica_id for each in told.replicas] == [replica.id]
            assert await instances.assignment(session, "ins-none") is None


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


async def test_keys(database: Database) -> None:
    with every_function_of(keys):
        async with database.transaction() as session:
            key = await keys.add(session, "k", "hash", "default", ["admin", "inference"], 1.0)
            assert await keys.add_once(session, "k", "hash", "default", [], 1.0) is None
            assert await keys.add_once(session, "l", "other", "default", [], 1.0) is not None
        async with database.transaction() as session:
            found = await keys.by_hash(session, "hash")
            assert found is not None and found.scopes == ["admin", "inference"]
            found.revoked_at = await read_clock(session)
            await session.flush()
            assert [each.name for each in await keys.valid(session)] == ["l"]
            assert [each.name for each in await keys.lock_valid(session)] == ["l"]
            assert await keys.by_hash(session, key.hash) is found


async def test_listings(database: Database) -> None:
    async with database.transaction() as session:
        replica = await add_replica(session)
        await add_instance(session)
        await keys.add(session, "k", "hash", "default", ["admin"], 1.0)
        await audit.record(session, "key-1", "test", "subject", {})
        await decisions.add(session, replica.deployment_id, "scale", "idle", "", {}, {})
    page = Page(limit=1)
    with every_function_of(listings):
        async with database.snapshot() as session:
            for listed in (
                await listings.deployments(session, page),
                await listings.models(session, page),
                await listings.keys(session, page),
                await listings.decisions(session, replica.deployment_id, page),
                await listings.audit_events(session, page),
                await listings.instances(session, page, ended=False),
                await listings.instances(session, page, ended=True),
                await listings.replicas(session, page, None, ended=True),
                await listings.replicas(session, page, replica.deployment_id, ended=False),
            ):
                assert (len(listed.rows), listed.next_cursor) == (1, None)
            older = Page(limit=1, cursor=replica.id)
            assert (await listings.replicas(session, older, None, ended=True)).rows == []


async def test_models(database: Database) -> None:
    with every_function_of(models):
        async with database.transaction() as session:
            tiny = await models.add(session, "tiny", "pypi:tiny", 1.0)
            assert await models.ready_names(session) == []
            tiny.state = models.READY
            await session.flush()
            assert await models.ready_names(session) == ["tiny"]
            for look in (models.find, models.keep, models.lock):
                assert await look(session, "tiny") is tiny
                assert await look(session, "none") is None


async def test_operations(database: Database) -> None:
    launch, other = OperationKind.LAUNCH_INSTANCE, OperationKind.IMPORT_MODEL
    with every_function_of(operations):
        async with database.transaction() as session:
            one = await operations.add(session, launch, "ins-1", "launch:ins-1", 60.0, {"a": 1})
            late = await operations.add(session, other, "mod-1", "import:mod-1", -1.0)
            again = await operations.add(session, launch, "ins-1", "launch:ins-1", 60.0)
            ending = await operations.add_termination(session, "ins-1", 60.0)
            assert (await operations.add_termination(session, "ins-1", 60.0)).id == ending.id
            assert (again.id, again.payload) == (one.id, {"a": 1})
            newest = await operations.newest_of(session, ["ins-1", "ins-2"], launch)
            assert {id: each.id for id, each in newest.items()} == {"ins-1": one.id}
        async with database.transaction() as session:
            assert [each.id for each in await operations.due(session)] == [one.id, ending.id]
            assert [each.id for each in await operations.overdue(session)] == [late.id]
            assert await operations.book_sending(session, one, 60.0)
            assert not await operations.book_sending(session, one, 60.0)
            assert [each.id for each in await operations.due(session)] == [ending.id]
            await operations.send_in(session, one.id, -1.0)
            assert len(await operations.due(session)) == 2
        async with database.transaction() as session:
            claimed = await operations.claim(session, one.id, 60.0)
            assert claimed is not None and claimed[0].attempts == 1
            assert await operations.claim(session, one.id, 60.0) is None
            token = claimed[1]
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
            chat = await add_deployment(session, await add_model(session))
            one = await replicas.add(session, chat)
            two = await replicas.add(session, chat)
            instance = await add_instance(session)
            moved = await replicas.move(
                session, one.id, requested, launching, "", instance_id=instance.id
            )
            assert moved
            assert not await replicas.move(session, one.id, requested, launching, "again")
            assert await replicas.move(session, two.id, requested, failed, "broken")
        async with database.snapshot() as session:
            for live in (
                await replicas.live(session),
                await replicas.live_of(session, chat.id),
                await replicas.live_on(session, instance.id),
            ):
                assert [each.id for each in live] == [one.id]
            ended = await replicas.ended_unready(session, chat, 5)
            assert [(each.id, each.reason) for each in ended] == [(two.id, "broken")]


async def test_revisions(database: Database) -> None:
    with every_function_of(revisions):
        async with database.transaction() as session:
            model = await add_model(session)
            one = await revisions.find_or_add(session, "dep-1", model, "paced", {"a": 1}, 1.0)
            same = await revisions.find_or_add(session, "dep-1", model, "paced", {"a": 1}, 2.0)
            other = await revisions.find_or_add(session, "dep-1", model, "paced", {"a": 2}, 2.0)
    assert same is one and other.id != one.id
