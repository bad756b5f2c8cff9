"""What the database itself refuses, whoever asks."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from control_plane.store.repositories import keys, models, operations
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Instance, Operation, Replica
from tests.control_plane.store.rows import add_deployment, add_instance, add_model, add_replica


async def test_a_row_that_points_nowhere(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            replica = await add_replica(session)
            replica.instance_id = "ins-none"


async def test_deleting_a_row_that_others_point_to(database: Database) -> None:
    async with database.transaction() as session:
        replica = await add_replica(session)
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            await session.delete(await session.get_one(Deployment, replica.deployment_id))
    async with database.snapshot() as session:
        assert await session.get(Replica, replica.id) is not None


async def test_a_second_live_model_of_one_name(database: Database) -> None:
    async with database.transaction() as session:
        await add_model(session)
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            await add_model(session)


async def test_the_name_of_a_deleted_model_is_free_again(database: Database) -> None:
    for _ in range(3):
        async with database.transaction() as session:
            model = await add_model(session)
            model.state = models.DELETED


async def test_a_second_live_deployment_of_one_name_until_the_first_is_deleted(
    database: Database,
) -> None:
    async with database.transaction() as session:
        model = await add_model(session)
        first = await add_deployment(session, model)
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            await add_deployment(session, model)
    async with database.transaction() as session:
        await session.execute(
            update(Deployment).where(Deployment.id == first.id).values(state="deleted")
        )
        await add_deployment(session, model)


async def test_two_keys_with_one_secret(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            await keys.add(session, "one", "hash", "default", ["admin"], 1.0)
            await keys.add(session, "two", "hash", "default", ["admin"], 1.0)


async def test_two_instances_with_one_join_token(database: Database) -> None:
    async with database.transaction() as session:
        for _ in range(2):
            await add_instance(session)  # without a token there may be any number
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            await session.execute(update(Instance).values(join_token_hash="hash"))


async def test_an_operation_in_a_state_that_nobody_knows(database: Database) -> None:
    async with database.transaction() as session:
        await operations.add(session, OperationKind.IMPORT_MODEL, "mod-1", "key", 60.0)
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            await session.execute(update(Operation).values(state="lost"))


async def test_of_many_that_add_one_operation_all_get_the_same(database: Database) -> None:
    async def add() -> str:
        async with database.transaction() as session:
            kind = OperationKind.LAUNCH_INSTANCE
            return (await operations.add(session, kind, "ins-1", "launch:ins-1", 60.0)).id

    assert len(set(await asyncio.gather(*(add() for _ in range(6))))) == 1


async def test_of_many_that_add_one_key_one_does(database: Database) -> None:
    async def add() -> str | None:
        async with database.transaction() as session:
            return await keys.add_once(session, "first", "hash", "default", ["admin"], 1.0)

    added = await asyncio.gather(*(add() for _ in range(6)))
    assert len([key_id for key_id in added if key_id is not None]) == 1
