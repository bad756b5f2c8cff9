"""Every function of every repository, on both databases: the statements are what may differ."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from sqlalchemy.exc import IntegrityError

from control_plane.store import leases, repositories
from control_plane.store.clock import read_clock
from control_plane.store.repositories import (
    audit,
    counts,
    decisions,
    deployments,
    duties,
    garbage,
    imports,
    keys,
    listings,
    machines,
    models,
    pools,
    replicas,
    revisions,
    rollouts,
    starts,
)
from control_plane.store.repositories.listings import Page
from control_plane.store.session import Database
from control_plane.store.tables import Duty, Model, Revision
from infra.states import RolloutState
from tests.control_plane.store import (
    test_repositories_of_machines,
    test_repositories_of_money,
)
from tests.control_plane.store.exercised import every_function_of, functions_of
from tests.control_plane.store.rows import (
    add_deployment,
    add_instance,
    add_model,
    add_operation,
    add_replica,
    add_revision,
)


def test_no_repository_is_forgotten() -> None:
    found = pkgutil.iter_modules(repositories.__path__)
    with_functions = {
        each.name
        for each in found
        if functions_of(importlib.import_module(f"{repositories.__name__}.{each.name}"))
    }
    others = (test_repositories_of_machines, test_repositories_of_money)
    tested = globals().keys() | {name for each in others for name in vars(each)}
    assert {f"test_{name}" for name in with_functions} <= tested


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
        await add_operation(session)
    with every_function_of(counts):
        async with database.snapshot() as session:
            assert await counts.models(session) == {"ready": 1}
            assert await counts.instances(session) == {"requested": 1}
            assert await counts.replicas(session) == {replica.deployment_id: {"requested": 1}}
            assert await counts.operations(session) == {("import_model", "pending"): 1}


async def test_decisions(database: Database) -> None:
    async with database.transaction() as session:
        chat = await add_deployment(session, await add_model(session))
    with every_function_of(decisions):
        async with database.transaction() as session:
            for reason in "abc":
                await decisions.add(session, chat.id, "scale", reason, "", {}, {})
        async with database.snapshot() as session:
            newest = await decisions.newest_of(session, [chat.id], "scale")
            assert [each.reason for each in newest.values()] == ["c"]
            assert await decisions.newest_of(session, [chat.id], "place") == {}
            before = await decisions.newest_for_other_reasons(session, chat.id, "scale", ["c"])
            assert before is not None
            assert before.reason == "b"


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
        newest = await decisions.newest_of(session, [chat.id], "scale")
    assert newest[chat.id].reason == "later"


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
            [one] = await deployments.live_among(session, ["dep-1", "dep-2"])
            assert one.revision.id == revision.id
            both = await deployments.all_live(session)
            assert [each.deployment.name for each in both] == ["answers", "chat"]
            named = [each.deployment.id for each in both]
            assert list(await deployments.versions(session)) == named
            assert await deployments.names_that_use(session, model) == ["answers", "chat"]
            assert await deployments.spare(session, "dep-1", 1)
            assert not await deployments.spare(session, "dep-1", 1)
            newest = await deployments.newest_named(session, "chat")
            assert newest is not None and newest.id == "dep-1"
            assert await deployments.names(session, ["dep-1", "dep-2"]) == {"dep-1": "chat"}
            assert await deployments.ids_named(session, ["chat", "none"]) == {"chat": ["dep-1"]}


async def test_garbage(database: Database) -> None:
    async with database.transaction() as session:
        model = await add_model(session)
        chat = await add_deployment(session, model, "chat")
        old = await add_deployment(session, model, "old")
        for used_by, digest in ((chat, "wanted"), (old, "of a deleted one")):
            revision = await session.get_one(Revision, used_by.revision_id)
            revision.model_digest = digest
        model.digest = "of the model"
        old.state = "deleted"
        await models.add(session, "other", "pypi:other", 1.0)
        plain = await models.add(session, "plain", "pypi:plain", 1.0)
        plain.state, plain.digest = "deleted", "being packed"
        packed = await models.add(session, "packed", "pypi:plain", 1.0, {}, plain.id)
    with every_function_of(garbage):
        async with database.snapshot() as session:
            used = {"of the model", "wanted"}
            assert await garbage.digests_in_use(session) == {*used, "being packed"}
        async with database.transaction() as session:
            await imports.complete(session, packed.id, {"digest": "of the packed"})
        async with database.snapshot() as session:
            assert await garbage.digests_in_use(session) == {*used, "of the packed"}


async def test_imports(database: Database) -> None:
    async with database.transaction() as session:
        good, bad = [await models.add(session, name, "pypi:x", 1.0) for name in ("good", "bad")]
        packing = {"quantization": "int8"}
        packed = await models.add(session, "better", "pypi:x", 1.0, packing, good.id, replaces=True)
    with every_function_of(imports):
        async with database.transaction() as session:
            assert await imports.wanted(session, good.id) == imports.Wanted("pypi:x", {}, "")
            await imports.reserve(session, good.id, "reserved")
            facts = {"digest": "d", "size_bytes": 1 << 40, "uri": "file:///d"}
            await imports.complete(session, good.id, facts)
            await imports.fail(session, bad.id, "broken \0 file")
            await imports.fail(session, good.id, "too late")
        async with database.snapshot() as session:
            assert await imports.wanted(session, good.id) is None
            found = await imports.wanted(session, packed.id)
            assert found == imports.Wanted("pypi:x", packing, "file:///d")
            ready, failed = [await session.get_one(Model, each.id) for each in (good, bad)]
        async with database.transaction() as session:
            await imports.complete(session, packed.id, {"digest": "e"})
            await imports.complete(session, packed.id, {"digest": "twice"})
        async with database.snapshot() as session:
            live = await models.find(session, "good")
            assert live is not None and (live.id, live.digest) == (packed.id, "e")
            assert (await session.get_one(Model, good.id)).state == "deleted"
    assert (ready.digest, failed.digest) == ("d", "")
    assert (ready.state, ready.error, ready.size_bytes) == ("ready", "", 1 << 40)
    assert (failed.state, failed.error) == ("deleted", "broken \ufffd file")


async def test_keys(database: Database) -> None:
    with every_function_of(keys):
        async with database.transaction() as session:
            assert await keys.is_first(session)
            key = await keys.add(session, "k", "hash", "default", ["admin", "inference"], 1.0)
            assert not await keys.is_first(session)
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
        await machines.add(session, "spare", "hash", 60.0)
        await keys.add(session, "k", "hash", "default", ["admin"], 1.0)
        await audit.record(session, "key-1", "test", "subject", {})
        await add_operation(session)
        await decisions.add(session, replica.deployment_id, "scale", "idle", "", {}, {})
        await starts.begin(session, replica, 0, 0.0)
    page = Page(limit=1)
    with every_function_of(listings):
        async with database.snapshot() as session:
            for listed in (
                await listings.deployments(session, page),
                await listings.models(session, page),
                await listings.keys(session, page),
                await listings.decisions(session, replica.deployment_id, page),
                await listings.starts(session, replica.deployment_id, page),
                await listings.audit_events(session, page),
                await listings.machines(session, page),
                await listings.instances(session, page, ended=False),
                await listings.instances(session, page, ended=True),
                await listings.operations(session, page, ended=False),
                await listings.operations(session, page, ended=True),
                await listings.replicas(session, page, None, ended=True),
                await listings.replicas(session, page, replica.deployment_id, ended=False),
            ):
                assert (len(listed.rows), listed.next_cursor) == (1, None)
            named = await listings.replica(session, replica.id)
            assert named is not None and named.deployment_name == "chat"
            assert await listings.replica(session, "rep-none") is None
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
            other = await models.add(session, "other", "pypi:tiny", 1.0, {}, tiny.id)
            assert await models.being_packed(session, tiny.id) == [other]
            assert await models.being_packed(session, other.id) == []
            assert await models.by_id(session, {tiny.id, "mod-none"}) == {tiny.id: tiny}


async def test_revisions(database: Database) -> None:
    with every_function_of(revisions):
        async with database.transaction() as session:
            model = await add_model(session)
            one = await revisions.find_or_add(session, "dep-1", model, "paced", {"a": 1}, 1.0)
            same = await revisions.find_or_add(session, "dep-1", model, "paced", {"a": 1}, 2.0)
            other = await revisions.find_or_add(session, "dep-1", model, "paced", {"a": 2}, 2.0)
            await deployments.add(session, "dep-1", "chat", {}, other, 1.0)
            found = await revisions.by_id(session, {one.id, "rev-none"})
            assert found == {one.id: one}
            names = await revisions.deployment_names(session)
            assert list(names.items()) == [(one.id, None), (other.id, "chat")]
    assert same is one and other.id != one.id


async def test_pools(database: Database) -> None:
    with every_function_of(pools):
        async with database.transaction() as session:
            row = await pools.lock(session, "aws", "g6.xlarge", "us-east-1a", "spot")
            row.launches, row.closed_until = 2.0, 100.0
        async with database.transaction() as session:
            again = await pools.lock(session, "aws", "g6.xlarge", "us-east-1a", "spot")
            assert (again.launches, again.losses) == (2.0, 0.0)
            for vcpus in (8, 12):
                await pools.learn_quota(session, "aws", "us-east-1", "g", "spot", vcpus)
        async with database.snapshot() as session:
            assert [each.id for each in await pools.of_cloud(session, "aws")] == [again.id]
            assert await pools.of_cloud(session, "local") == []
            [known] = await pools.quotas(session, "aws")
            assert (known.vcpus, known.refusals) == (12, 2)
            assert await pools.quotas(session, "local") == []


async def test_duties(database: Database) -> None:
    with every_function_of(duties):
        for _ in range(2):
            async with database.transaction() as session:
                await duties.ensure(session, duties.PLACEMENT)
    async with database.transaction() as session:
        assert await leases.take(session, Duty, duties.PLACEMENT, 60.0) is not None
        assert await leases.take(session, Duty, duties.PLACEMENT, 60.0) is None


async def test_rollouts(database: Database) -> None:
    with every_function_of(rollouts):
        async with database.transaction() as session:
            model = await add_model(session)
            chat = await add_deployment(session, model)
            old, new = chat.revision_id, await add_revision(session, model, chat.id, exact=True)
            assert not await rollouts.has_served(session, chat.id, old)
            chat.revision_id = new.id
            begun = await rollouts.begin(session, chat, old, chat.spec, 1.0)
            assert await rollouts.open_of(session, chat.id) is begun
            assert await rollouts.all_open(session) == {chat.id: begun}
            assert await rollouts.open_among(session, [chat.id]) == {chat.id: begun}
            assert await rollouts.traffic_of(session, begun, {}) == 0
            for revision_id in (old, old, new.id):
                (await replicas.add(session, chat, revision_id)).state = "ready"
            await session.flush()
            assert await rollouts.traffic_of(session, begun, {}) == 33
            canary = {"rollout": {"strategy": "canary"}}
            assert await rollouts.traffic_of(session, begun, canary) == 0, "as the step says"
            await rollouts.promote(session, begun)
            assert not await rollouts.move(session, begun, RolloutState.WATCHING, "seen before")
            await session.refresh(begun)
            assert await rollouts.move(session, begun, RolloutState.WATCHING, "on", percent=5)
            await session.refresh(begun)
            to = RolloutState.ROLLED_BACK
            assert await rollouts.go_back(session, chat, begun, to, "errors", "9 of 20", {}, 5)
            await session.refresh(begun)
            assert await rollouts.tries(session, [chat.id]) == {chat.id: {new.id: begun}}
            assert begun.percent == 5
            await rollouts.hand_back(session, [begun.id])
            assert (chat.revision_id, chat.generation) == (old, 2)
        async with database.snapshot() as session:
            for wanted in (None, new.id):
                last = await rollouts.newest_of(session, chat.id, wanted)
                assert last is not None
                assert (last.state, last.percent, last.reason) == ("rolled_back", 0, "9 of 20")
            assert await rollouts.newest_of(session, chat.id, old) is None


async def test_a_deployment_has_one_open_rollout_at_most(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            chat = await add_deployment(session, await add_model(session))
            for _ in range(2):
                await rollouts.begin(session, chat, chat.revision_id, chat.spec, 1.0)
