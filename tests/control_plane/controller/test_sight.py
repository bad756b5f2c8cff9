"""The cloud is asked beside the passes, and its answer is believed with its age."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from control_plane.controller.sight import CloudSight
from infra.cloud.base import CloudInstance, CloudInstanceState
from tests.control_plane.controller.memory_cloud import MemoryCloud
from tests.fixtures.metric_samples import value


class SlowCloud(MemoryCloud):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()

    async def describe(self) -> Sequence[CloudInstance]:
        self.asked += 1
        found = list(await super().describe())
        await self.free.wait()
        return found


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_it_is_asked_once_in_a_while_and_the_answer_grows_old() -> None:
    cloud, clock = SlowCloud(), Clock()
    cloud.put("ins-1", CloudInstanceState.RUNNING)
    sight = CloudSight(cloud, every_s=5.0, clock=clock)
    first = await sight.look()
    assert first is not None
    assert (set(first.machines), first.age_s) == ({"ins-1"}, 0.0)
    clock.now_s += 4.0
    again = await sight.look()
    assert again is not None
    assert (again.age_s, cloud.asked) == (4.0, 1)
    await sight.close()


async def test_a_pass_does_not_wait_for_an_answer_while_it_has_one() -> None:
    cloud, clock = SlowCloud(), Clock()
    sight = CloudSight(cloud, every_s=5.0, clock=clock)
    await sight.look()
    cloud.free.clear()
    clock.now_s += 6.0
    old = await sight.look()
    assert old is not None
    assert (old.age_s, cloud.asked) == (6.0, 2 if cloud.asked == 2 else 1)
    cloud.put("ins-2", CloudInstanceState.RUNNING)
    cloud.free.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.now_s += 1.0
    new = await sight.look()
    assert new is not None
    assert new.age_s <= 1.0
    await sight.close()


async def test_a_cloud_that_hangs_is_asked_once_and_believed_until_its_answer_is_old() -> None:
    cloud, clock = SlowCloud(), Clock()
    cloud.put("ins-1", CloudInstanceState.RUNNING)
    sight = CloudSight(cloud, every_s=0.0, clock=clock)
    await sight.look()
    cloud.free.clear()
    ages = []
    for _ in range(4):
        clock.now_s += 9.0
        seen = await sight.look()
        ages.append(None if seen is None else (set(seen.machines), seen.age_s))
        assert value("cloud_age_seconds") == (math.inf if seen is None else seen.age_s)
    assert ages == [({"ins-1"}, 9.0), ({"ins-1"}, 18.0), ({"ins-1"}, 27.0), None]
    assert cloud.asked == 2
    await sight.close()


async def test_an_answer_that_came_late_is_as_old_as_its_question() -> None:
    cloud, clock = SlowCloud(), Clock()
    cloud.free.clear()
    sight = CloudSight(cloud, every_s=5.0, clock=clock)
    assert await sight.look() is None
    clock.now_s += 4.0
    cloud.free.set()
    await asyncio.sleep(0)
    late = await sight.look()
    assert late is not None
    assert (late.age_s, cloud.asked) == (4.0, 1)
    await sight.close()


async def test_nothing_is_believed_for_long_and_nothing_of_a_cloud_that_refuses() -> None:
    cloud, clock = SlowCloud(), Clock()
    sight = CloudSight(cloud, every_s=0.0, clock=clock)
    assert await sight.look() is not None
    cloud.broken = True
    assert await sight.look() is None
    cloud.broken = False
    assert await sight.look() is not None
    await sight.close()


async def test_a_machine_without_an_id_is_counted_and_not_shown() -> None:
    cloud = SlowCloud()
    cloud.machines["x"] = CloudInstance("", "i-0abc", CloudInstanceState.RUNNING)
    sight = CloudSight(cloud, every_s=0.0)
    seen = await sight.look()
    assert seen is not None
    assert seen.machines == {}
    await sight.close()
