"""A pass waits a moment for what it has just asked, and never for what was asked before."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.controller import question
from control_plane.controller.question import Question


class Oracle:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.free = asyncio.Event()

    async def ask(self) -> int:
        self.asked += 1
        await self.free.wait()
        return self.asked


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long each wait may take."""
    waited: list[float | None] = []
    wait = asyncio.wait

    async def noted(tasks: set[asyncio.Task[int]], *, timeout: float | None) -> object:
        waited.append(timeout)
        return await wait(tasks, timeout=timeout)

    monkeypatch.setattr(question.asyncio, "wait", noted)
    return waited


async def test_however_many_passes_go_by_only_the_first_waits(waits: list[float | None]) -> None:
    oracle = Oracle()
    asked = Question(oracle.ask)
    for _ in range(10):
        await asked.put()
        assert asked.take() is None
    assert (oracle.asked, waits) == (1, [question._MOMENT_S])
    await asked.close()


async def test_who_is_not_patient_does_not_wait_at_all(waits: list[float | None]) -> None:
    asked = Question(Oracle().ask)
    await asked.put(patient=False)
    assert (asked.is_open, waits) == (True, [])
    await asked.close()


async def test_who_is_no_pass_may_wait_for_longer(waits: list[float | None]) -> None:
    asked = Question(Oracle().ask, moment_s=0.0)
    await asked.put()
    assert waits == [0.0]
    await asked.close()


async def test_an_answer_is_taken_once_and_then_asked_for_anew() -> None:
    oracle = Oracle()
    asked = Question(oracle.ask)
    oracle.free.set()
    await asked.put()
    assert (asked.is_open, asked.is_asked, asked.take()) == (False, True, 1)
    assert (asked.is_asked, asked.take()) == (False, None)
    await asked.put()
    assert asked.take() == 2


async def test_what_asking_raised_is_raised_once() -> None:
    async def refuse() -> int:
        raise KeyError("zone")

    asked = Question(refuse)
    await asked.put()
    with pytest.raises(KeyError):
        asked.take()
    assert asked.take() is None
