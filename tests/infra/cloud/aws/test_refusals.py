"""What EC2 refuses, call by call, and what becomes of a launch or an end that it interrupts."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.cloud.aws import client
from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.client import AwsCloud
from infra.cloud.base import CloudInstanceState, LaunchRequest, Market
from infra.cloud.refusals import (
    CredentialsExpired,
    InsufficientCapacity,
    Malformed,
    Refusal,
    Throttled,
)
from infra.settings import Settings
from loadtests.ec2.market import Place
from loadtests.ec2.moto import REGION
from tests.fixtures.ec2_region import Region
from tests.infra.cloud.contract import ALIVE, find

KIND, ZONE = "g6.xlarge", "us-east-1a"
FIRST = ("DescribeInstances", "DescribeLaunchTemplates", "CreateLaunchTemplate", "CreateFleet")
"""Calls of a launch while there is no launch template."""
LATER = (
    "DescribeInstances",
    "DescribeLaunchTemplates",
    "DescribeLaunchTemplateVersions",
    "CreateFleet",
)


@pytest.fixture
def settings(region: Region, tmp_path: Path) -> Settings:
    region.layer.answered.clear()
    return region.settings(tmp_path, f"owner-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def access(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AwsAccess:
    monkeypatch.setattr("infra.cloud.aws.access._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("infra.cloud.aws.access._ATTEMPTS", 1)
    return AwsAccess(REGION, settings.aws_endpoint_url, settings.aws_calls_per_s)


@pytest.fixture
async def cloud(settings: Settings, access: AwsAccess) -> AsyncIterator[AwsCloud]:
    adapter = AwsCloud(settings, access)
    yield adapter
    await adapter.close()


@pytest.fixture
def instance_id() -> str:
    return f"ins-{uuid.uuid4().hex[:12]}"


def request(instance_id: str, market: Market = Market.SPOT) -> LaunchRequest:
    return LaunchRequest(instance_id, KIND, ZONE, market, {"TAMER_JOIN_TOKEN": "once"})


def with_template(settings: Settings, access: AwsAccess, name: str) -> AwsCloud:
    return AwsCloud(settings.model_copy(update={"aws_launch_template": name}), access)


async def alive(cloud: AwsCloud) -> int:
    return sum(each.state in ALIVE for each in await cloud.describe())


async def launched_before(settings: Settings, access: AwsAccess, calls: tuple[str, ...]) -> None:
    """Where `calls` are those of a later launch."""
    if calls is LATER:
        before = AwsCloud(settings, access)
        await before.launch(request("before-" + settings.aws_owner))
        await before.terminate("before-" + settings.aws_owner)


@pytest.mark.parametrize("calls", [FIRST, LATER])
async def test_a_launch_that_is_throttled_at_any_call_is_made_once_when_that_ends(
    settings: Settings,
    access: AwsAccess,
    cloud: AwsCloud,
    region: Region,
    instance_id: str,
    calls: tuple[str, ...],
) -> None:
    await launched_before(settings, access, calls)
    for action in calls:
        region.layer.faults.throttled_actions = frozenset({action})
        with pytest.raises(Throttled) as refused:
            await cloud.launch(request(instance_id))
        assert refused.value.retryable
        assert region.layer.calls[action]
    region.layer.faults.throttled_actions = frozenset()
    await cloud.launch(request(instance_id))
    assert await alive(cloud) == 1


@pytest.mark.parametrize("good_calls", range(4))
@pytest.mark.parametrize("calls", [FIRST, LATER])
async def test_a_launch_whose_credentials_expire_at_any_call_is_made_once_with_others(
    settings: Settings,
    access: AwsAccess,
    cloud: AwsCloud,
    region: Region,
    instance_id: str,
    calls: tuple[str, ...],
    good_calls: int,
) -> None:
    await launched_before(settings, access, calls)
    region.layer.faults.expires_after = good_calls
    with pytest.raises(CredentialsExpired) as refused:
        await cloud.launch(request(instance_id))
    assert refused.value.retryable
    region.layer.faults.expires_after = None
    await cloud.launch(request(instance_id))
    assert await alive(cloud) == 1


async def test_a_launch_that_was_asked_in_other_words_before_is_looked_for_and_not_repeated(
    settings: Settings,
    access: AwsAccess,
    region: Region,
    instance_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answer was lost, it is not shown yet, and meanwhile the template has another version."""
    monkeypatch.setattr(client, "_LOOK_PAUSE_S", 0.0)
    named = region.template(settings.aws_owner)
    first = await with_template(settings, access, named).launch(request(instance_id))
    region.replace_version(named)
    region.layer.faults.hidden_describes = 2
    cloud = with_template(settings, access, named)
    assert (await cloud.launch(request(instance_id))).cloud_id == first.cloud_id
    assert await alive(cloud) == 1


async def test_where_the_launch_in_other_words_gave_no_machine_another_is_asked_for(
    settings: Settings,
    access: AwsAccess,
    region: Region,
    instance_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_LOOK_PAUSE_S", 0.0)
    region.layer.market.empty = {Place(KIND, ZONE, "spot")}
    cloud = AwsCloud(settings, access)
    with pytest.raises(InsufficientCapacity):
        await cloud.launch(request(instance_id))
    region.layer.market.empty = set()
    other = LaunchRequest(instance_id, KIND, ZONE, Market.SPOT, {"TAMER_JOIN_TOKEN": "another"})
    assert (await cloud.launch(other)).cloud_id
    assert await alive(cloud) == 1


async def test_a_protected_machine_keeps_no_other_from_its_end(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    first = await cloud.launch(request(instance_id, Market.ON_DEMAND))
    region.layer.answered.clear()
    region.layer.faults.hidden_describes = 99
    second = await cloud.launch(request(instance_id, Market.ON_DEMAND))
    region.layer.faults.hidden_describes = 0
    region.ec2.modify_instance_attribute(
        InstanceId=first.cloud_id, DisableApiTermination={"Value": True}
    )
    with pytest.raises(Malformed, match="disableApiTermination"):
        await cloud.terminate(instance_id)
    told = region.ec2.describe_instances(InstanceIds=[first.cloud_id, second.cloud_id])
    states = {
        each["InstanceId"]: each["State"]["Name"]
        for group in told["Reservations"]
        for each in group["Instances"]
    }
    assert states == {first.cloud_id: "running", second.cloud_id: "terminated"}
    region.ec2.modify_instance_attribute(
        InstanceId=first.cloud_id, DisableApiTermination={"Value": False}
    )
    await cloud.terminate(instance_id)
    assert await alive(cloud) == 0


async def test_a_machine_that_is_shown_and_not_yet_known_is_ended_at_the_next_try(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    """Two servers of EC2 need not know the same: eventual consistency."""
    await cloud.launch(request(instance_id))
    region.layer.faults.unknown_instances = 1
    with pytest.raises(Refusal, match=r"InvalidInstanceID\.NotFound") as refused:
        await cloud.terminate(instance_id)
    assert refused.value.retryable
    await cloud.terminate(instance_id)
    found = await find(cloud, instance_id)
    assert found is not None
    assert found.state is CloudInstanceState.TERMINATED


async def test_a_fleet_that_is_throttled_within_is_asked_again_and_less_and_less_often(
    cloud: AwsCloud, region: Region, instance_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(client.time, "sleep", pauses.append)
    region.layer.market.errors[Place(KIND, ZONE, "spot")] = "RequestLimitExceeded"
    with pytest.raises(Throttled) as refused:
        await cloud.launch(request(instance_id))
    assert refused.value.is_spent, "EC2 repeats what it has said to these tokens"
    assert pauses == [2.0, 4.0]
    assert len({each["ClientToken"] for each in region.layer.fleets}) == 3
