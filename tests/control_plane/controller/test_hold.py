"""Row leases as the controller uses them."""

from __future__ import annotations

import pytest

from control_plane.controller.hold import LeaseLost, each_row, hold
from control_plane.store.tables import Deployment
from tests.control_plane.controller.cell import Cell


async def test_a_row_that_somebody_holds_is_left_alone(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model())
    async with hold(cell.database, Deployment, chat.id, 60.0) as first:
        assert first is not None
        async with hold(cell.database, Deployment, chat.id, 60.0) as second:
            assert second is None
    async with hold(cell.database, Deployment, chat.id, 60.0) as third:
        assert third is not None


async def test_whoever_was_overtaken_writes_nothing(cell: Cell) -> None:
    chat = await cell.deploy(await cell.model())
    async with hold(cell.database, Deployment, chat.id, -1.0) as slow:
        assert slow is not None
        async with hold(cell.database, Deployment, chat.id, 60.0) as quick:
            assert quick is not None
            with pytest.raises(LeaseLost):
                async with slow.apply() as session:
                    (await session.get_one(Deployment, chat.id)).reason = "written too late"
    assert (await cell.deployment(chat)).reason == ""


async def test_one_bad_row_does_not_keep_the_others_waiting() -> None:
    done = []

    async def reconcile(row_id: str) -> int:
        if row_id == "bad":
            raise ValueError("cannot be read")
        done.append(row_id)
        return 1

    assert await each_row(["a", "bad", "b"], reconcile) == 2
    assert done == ["a", "b"]


async def test_a_store_that_nobody_listens_at_is_asked_once_and_not_for_each_row() -> None:
    asked = []

    async def reconcile(row_id: str) -> int:
        asked.append(row_id)
        raise ConnectionRefusedError("nobody listens")

    with pytest.raises(ConnectionRefusedError):
        await each_row(["a", "b"], reconcile)
    assert asked == ["a"]
