"""A bell wakes its waiter once for all rings since the last wait, and never loses one."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.gateway.bell import Bell


async def test_a_ring_wakes_the_waiter() -> None:
    bell = Bell()
    asyncio.get_running_loop().call_soon(bell.ring)
    assert await bell.wait(60.0)


async def test_rings_before_a_wait_are_heard_once() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    assert await bell.wait()
    assert not await bell.wait(0.001)


async def test_rings_at_the_same_moment_wake_once() -> None:
    bell = Bell()
    loop = asyncio.get_running_loop()
    loop.call_soon(bell.ring)
    loop.call_soon(bell.ring)
    assert await bell.wait()
    assert not await bell.wait(0.001)


async def test_a_wait_that_was_cancelled_takes_no_ring() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    bell.ring()
    assert await bell.wait(60.0)
