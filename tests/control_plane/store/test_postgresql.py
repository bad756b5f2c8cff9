"""What PostgreSQL does and SQLite cannot: two transactions that write at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DataError, DBAPIError

from control_plane.store import postgresql
from control_plane.store.repositories import deployments, models, operations
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Model
from infra.settings import Settings
from tests.control_plane.store.rows import add_deployment, add_model, add_revision
from tests.fixtures.database import on_postgresql_alone
from tests.fixtures.waiting import eventually

pytestmark = on_postgresql_alone


async def test_transactions_on_different_rows_do_not_wait_for_each_other(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await add_model(session, "one")
        await add_model(session, "two")
    async with database.transaction() as first, database.transaction() as second:
        assert await models.lock(first, "one") is not None
        assert await models.lock(second, "two") is not None


async def test_a_deployment_that_changed_while_we_waited_is_found_with_its_new_revision(
    database: Database,
) -> None:
    async with database.transaction() as session:
        model = await add_model(session)
        chat = await add_deployment(session, model)
        newer = await add_revision(session, model, chat.id, exact=True)

    async def lock() -> str:
        async with database.transaction() as session:
            found = await deployments.lock(session, "chat")
            assert found is not None
            assert found.deployment.revision_id == found.revision.id
            return found.revision.id

    async with database.transaction() as session:
        found = await deployments.lock(session, "chat")
        assert found is not None
        found.deployment.revision_id = newer.id
        await session.flush()
        waiting = await _that_waits(database, lock)
    assert await waiting == newer.id


async def test_a_model_cannot_be_deleted_under_a_deployment_that_is_being_made(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await add_model(session)

    async def users() -> list[str]:
        async with database.transaction() as session:
            model = await models.lock(session, "tiny")
            assert model is not None
            return await deployments.names_that_use(session, model)

    async with database.transaction() as session:
        model = await models.keep(session, "tiny")
        assert model is not None
        await add_deployment(session, model)
        waiting = await _that_waits(database, users)
    assert await waiting == ["chat"]


async def test_an_operation_that_another_transaction_just_adds_is_waited_for(
    database: Database,
) -> None:
    async def add() -> str:
        async with database.transaction() as session:
            kind = OperationKind.IMPORT_MODEL
            return (await operations.add(session, kind, "mod-1", "import:mod-1", 60.0)).id

    async with database.transaction() as session:
        kind = OperationKind.IMPORT_MODEL
        mine = await operations.add(session, kind, "mod-1", "import:mod-1", 60.0)
        waiting = await _that_waits(database, add)
    assert await waiting == mine.id


async def test_a_process_that_stops_within_a_transaction_loses_its_locks(
    database: Database, migrated_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.transaction() as session:
        await add_model(session)
    monkeypatch.setitem(postgresql._SESSION, "idle_in_transaction_session_timeout", "100ms")
    stopped = Database(migrated_settings)
    with pytest.raises(DBAPIError):
        async with stopped.transaction() as session:
            await session.execute(update(Model).values(source="never written"))
            async with database.transaction() as other:
                await other.execute(update(Model).values(source="ours"))
            await session.execute(select(Model))
    async with database.snapshot() as session:
        assert (await session.scalars(select(Model.source))).all() == ["ours"]
    await stopped.close()


async def test_whoever_waits_for_a_lock_outlasts_a_process_that_has_stopped(
    database: Database,
) -> None:
    for sessions in (database.transaction, database.snapshot):
        async with sessions() as session:
            names = "('idle_in_transaction_session_timeout', 'lock_timeout')"
            statement = f"SELECT setting::int FROM pg_settings WHERE name IN {names} ORDER BY name"
            idle_ms, lock_ms = (await session.scalars(text(statement))).all()
            assert 0 < idle_ms < lock_ms


@pytest.mark.parametrize(
    "values",
    [{"name": "a\0b"}, {"name": "\ud800"}, {"max_context_tokens": 1 << 40}],
    ids=["nul", "surrogate", "integer"],
)
async def test_a_value_that_no_column_holds_is_a_data_error(
    database: Database, values: dict[str, object]
) -> None:
    async with database.transaction() as session:
        await add_model(session)
    with pytest.raises(DataError):
        async with database.transaction() as session:
            await session.execute(update(Model).values(**values))


async def test_a_url_may_say_sslmode_as_other_programs_do(migrated_settings: Settings) -> None:
    url = f"{migrated_settings.database_url}&sslmode=prefer"
    opened = Database(migrated_settings.model_copy(update={"database_url": url}))
    await opened.check()
    await opened.close()


async def test_a_server_that_ended_our_connections_is_connected_to_again(
    database: Database,
) -> None:
    others = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with database.transaction() as one, database.transaction() as two:
        await two.execute(select(Deployment.id))
        await one.commit()
        await two.commit()
    async with database.transaction() as session:
        await session.execute(text(others))
    async with database.transaction() as one, database.transaction() as two:
        await one.execute(select(Deployment.id))
        await two.execute(select(Deployment.id))


async def _that_waits(
    database: Database, run: Callable[[], Awaitable[str | list[str]]]
) -> asyncio.Task[str | list[str]]:
    """Start it, and return as soon as it waits for a lock."""
    task = asyncio.ensure_future(run())
    blocked = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def waits() -> bool:
        assert not task.done(), "it did not wait"
        async with database.snapshot() as session:
            return await session.scalar(text(blocked)) == 1

    await eventually(waits)
    return task  # type: ignore[return-value]
