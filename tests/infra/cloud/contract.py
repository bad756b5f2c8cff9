"""What every cloud adapter must do. An adapter's test module subclasses `CloudContract` and
provides the fixtures `cloud` (the adapter) and `requests` (makes launch requests it can serve).
Every test uses ids of its own, so that they may share one cloud.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from infra.cloud.base import Cloud, CloudInstance, CloudInstanceState, LaunchRequest

MakeRequest = Callable[[str], LaunchRequest]
ALIVE = (CloudInstanceState.PENDING, CloudInstanceState.RUNNING)


async def find(cloud: Cloud, instance_id: str) -> CloudInstance | None:
    found = [each for each in await cloud.describe() if each.instance_id == instance_id]
    assert len(found) <= 1, "one id, one instance"
    return found[0] if found else None


async def wait_for_state(
    cloud: Cloud, instance_id: str, state: CloudInstanceState, limit_s: float = 15.0
) -> CloudInstance:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = await find(cloud, instance_id)
        if found is not None and found.state is state:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{instance_id} is not {state} after {limit_s} s: {found}")


class CloudContract:
    async def test_a_launched_instance_is_described_until_it_runs(
        self, cloud: Cloud, requests: MakeRequest
    ) -> None:
        launched = await cloud.launch(requests("i-one"))
        assert launched.instance_id == "i-one"
        assert launched.cloud_id
        assert launched.state in ALIVE
        running = await wait_for_state(cloud, "i-one", CloudInstanceState.RUNNING)
        assert running.cloud_id == launched.cloud_id

    async def test_launching_the_same_id_again_returns_the_first_instance(
        self, cloud: Cloud, requests: MakeRequest
    ) -> None:
        first, second = await asyncio.gather(
            cloud.launch(requests("i-same")), cloud.launch(requests("i-same"))
        )
        third = await cloud.launch(requests("i-same"))
        assert first.cloud_id == second.cloud_id == third.cloud_id
        described = await find(cloud, "i-same")
        assert described is not None
        assert described.cloud_id == first.cloud_id

    async def test_different_ids_are_different_instances(
        self, cloud: Cloud, requests: MakeRequest
    ) -> None:
        first = await cloud.launch(requests("i-a"))
        second = await cloud.launch(requests("i-b"))
        assert first.cloud_id != second.cloud_id
        assert {"i-a", "i-b"} <= {each.instance_id for each in await cloud.describe()}

    async def test_a_terminated_instance_ends_and_is_still_described_with_a_reason(
        self, cloud: Cloud, requests: MakeRequest
    ) -> None:
        await cloud.launch(requests("i-end"))
        await cloud.terminate("i-end")
        ended = await wait_for_state(cloud, "i-end", CloudInstanceState.TERMINATED)
        assert ended.reason

    async def test_terminating_twice_or_an_unknown_id_is_fine(
        self, cloud: Cloud, requests: MakeRequest
    ) -> None:
        await cloud.terminate("i-never")
        await cloud.launch(requests("i-twice"))
        await cloud.terminate("i-twice")
        await cloud.terminate("i-twice")
        await wait_for_state(cloud, "i-twice", CloudInstanceState.TERMINATED)
        await cloud.terminate("i-twice")
        assert await find(cloud, "i-never") is None

    async def test_an_id_that_has_ended_is_not_launched_again(
        self, cloud: Cloud, requests: MakeRequest
    ) -> None:
        first = await cloud.launch(requests("i-once"))
        await cloud.terminate("i-once")
        await wait_for_state(cloud, "i-once", CloudInstanceState.TERMINATED)
        again = await cloud.launch(requests("i-once"))
        assert again.cloud_id == first.cloud_id
        assert again.state is CloudInstanceState.TERMINATED
