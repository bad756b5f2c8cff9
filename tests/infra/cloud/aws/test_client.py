"""EC2 over HTTP: the contract, and what only a real cloud does to us."""

from __future__ import annotations

import asyncio
import base64
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.cloud import open_cloud
from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.client import AwsCloud
from infra.cloud.base import CloudInstanceState, CloudPool, LaunchRequest, Market
from infra.cloud.refusals import (
    CloudAway,
    CredentialsExpired,
    CredentialsMissing,
    Denied,
    InsufficientCapacity,
    Malformed,
    QuotaReached,
    Throttled,
)
from infra.settings import Settings
from loadtests.ec2.market import Place
from loadtests.ec2.moto import REGION
from tests.fixtures.ec2_region import Region
from tests.infra.cloud.contract import CloudContract, MakeRequest, find, wait_for_state

KIND = "g6.xlarge"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


@pytest.fixture
def settings(region: Region, tmp_path: Path) -> Settings:
    return region.settings(tmp_path, f"owner-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def cloud(settings: Settings) -> AsyncIterator[AwsCloud]:
    access = AwsAccess(REGION, settings.aws_endpoint_url, settings.aws_calls_per_s)
    adapter = AwsCloud(settings, access)
    yield adapter
    await adapter.close()


def pool(zone: str, market: Market = Market.SPOT, kind: str = KIND) -> CloudPool:
    return CloudPool(kind, zone, market)


def request(instance_id: str, *zones: str, market: Market = Market.SPOT) -> LaunchRequest:
    wanted, *others = zones or (ZONES[0],)
    return LaunchRequest(
        instance_id=instance_id,
        instance_type=KIND,
        zone=wanted,
        market=market,
        user_data={"TAMER_JOIN_URL": "http://api:8000", "TAMER_JOIN_TOKEN": "once"},
        alternatives=tuple(pool(zone, market) for zone in others),
    )


@pytest.fixture
def requests(region: Region) -> MakeRequest:
    """Client tokens are the account's, so ids differ between tests; see `CloudContract`."""
    region.layer.answered.clear()
    return lambda instance_id: request(instance_id)


class TestContract(CloudContract):
    pass


@pytest.fixture
def instance_id() -> str:
    return f"ins-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("market", list(Market))
async def test_an_instance_carries_our_tags_its_market_and_its_user_data(
    cloud: AwsCloud, region: Region, settings: Settings, instance_id: str, market: Market
) -> None:
    launched = await cloud.launch(request(instance_id, market=market))
    told = region.ec2.describe_instances(InstanceIds=[launched.cloud_id])
    instance = told["Reservations"][0]["Instances"][0]
    tags = {each["Key"]: each["Value"] for each in instance["Tags"]}
    assert tags["tamer:owner"] == settings.aws_owner
    assert tags["tamer:instance"] == instance_id
    assert instance.get("InstanceLifecycle", "on-demand") == market.value
    written = region.layer.fleets[-1][
        "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateSpecificationUserData"
    ]
    assert "TAMER_JOIN_TOKEN=once" in base64.b64decode(written).decode()
    strategy = "SpotOptions" if market is Market.SPOT else "OnDemandOptions"
    expected = "price-capacity-optimized" if market is Market.SPOT else "lowest-price"
    assert region.layer.fleets[-1][f"{strategy}.AllocationStrategy"] == expected
    described = await find(cloud, instance_id)
    assert described is not None
    assert described.pool == launched.pool == pool(ZONES[0], market)


async def test_a_launch_takes_the_cheapest_pool_that_has_capacity(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    market = region.layer.market
    market.prices = {(KIND, ZONES[0]): 0.2, (KIND, ZONES[1]): 0.3, (KIND, ZONES[2]): 0.4}
    market.empty = {Place(KIND, ZONES[0], "spot")}
    launched = await cloud.launch(request(instance_id, *ZONES))
    assert launched.pool == pool(ZONES[1])


async def test_no_capacity_names_the_pools_and_is_not_tried_again(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.market.empty = {Place(KIND, zone, "spot") for zone in ZONES}
    with pytest.raises(InsufficientCapacity, match="InsufficientInstanceCapacity") as refused:
        await cloud.launch(request(instance_id, *ZONES[:2]))
    assert set(refused.value.pools) == {pool(ZONES[0]), pool(ZONES[1])}
    assert not refused.value.retryable
    assert await find(cloud, instance_id) is None


async def test_a_quota_is_told_apart_from_capacity(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.market.quota = 0
    with pytest.raises(QuotaReached, match="quota") as refused:
        await cloud.launch(request(instance_id))
    assert not refused.value.retryable
    assert refused.value.pools == (pool(ZONES[0]),)


async def test_a_launch_that_succeeded_after_we_gave_up_is_found_and_not_repeated(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.faults.lost_answers = 3
    with pytest.raises(CloudAway) as refused:
        await cloud.launch(request(instance_id))
    assert refused.value.retryable
    found = await find(cloud, instance_id)
    assert found is not None
    fleets = len(region.layer.fleets)
    again = await cloud.launch(request(instance_id))
    assert again.cloud_id == found.cloud_id
    assert len(region.layer.fleets) == fleets, "it was found by its tag"


async def test_a_launch_that_is_not_yet_described_is_not_repeated(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.faults.hidden_describes = 2
    first = await cloud.launch(request(instance_id))
    assert await find(cloud, instance_id) is None
    second = await cloud.launch(request(instance_id))
    assert second.cloud_id == first.cloud_id
    assert await find(cloud, instance_id) is not None


async def test_an_instance_that_boots_is_pending_until_it_runs(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.boot_describes = 2
    await cloud.launch(request(instance_id))
    states = []
    for _ in range(3):
        found = await find(cloud, instance_id)
        states.append(found.state if found is not None else None)
    pending, running = CloudInstanceState.PENDING, CloudInstanceState.RUNNING
    assert states == [pending, pending, running]


async def test_throttling_and_illness_pass_without_a_word(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.faults.throttled = region.layer.faults.ill = 1
    assert (await cloud.launch(request(instance_id))).cloud_id


async def test_throttling_that_stays_is_its_own_retryable_error(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.faults.throttled = 1000
    with pytest.raises(Throttled) as refused:
        await cloud.launch(request(instance_id))
    assert refused.value.retryable


async def test_an_outage_is_retryable_and_ends(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.faults.away = True
    with pytest.raises(CloudAway, match="TAMER_AWS_ENDPOINT_URL") as refused:
        await cloud.describe()
    assert refused.value.retryable
    region.layer.faults.away = False
    assert (await cloud.launch(request(instance_id))).cloud_id


async def test_an_answer_that_is_none_of_aws_is_a_cloud_that_is_away(
    cloud: AwsCloud, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's page of its own, say, with status 200."""
    page = (200, b"<html><p>Please log in", "text/html")
    monkeypatch.setattr(region.layer, "reply", lambda *_: page)
    with pytest.raises(CloudAway, match="not as AWS writes it") as refused:
        await cloud.describe()
    assert refused.value.retryable
    monkeypatch.undo()


async def test_an_endpoint_that_is_no_url_is_named_by_its_setting(tmp_path: Path) -> None:
    access = AwsAccess(REGION, "ec2.example.com", calls_per_s=10.0)
    adapter = AwsCloud(Settings(home=tmp_path, cloud="aws"), access)
    for asks in (adapter.describe, adapter.offers):
        with pytest.raises(Malformed, match="TAMER_AWS_ENDPOINT_URL"):
            await asks()


async def test_expired_credentials_are_asked_once_and_then_left_alone(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    region.layer.faults.expired = True
    for _ in range(5):
        with pytest.raises(CredentialsExpired, match="renew") as refused:
            await cloud.launch(request(instance_id))
        assert refused.value.retryable
    assert region.layer.calls.total() == 1


async def test_missing_credentials_are_one_clear_error_and_no_call(
    cloud: AwsCloud, region: Region, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(CredentialsMissing, match="AWS_ACCESS_KEY_ID"):
        await cloud.describe()
    assert region.layer.calls.total() == 0


async def test_what_is_not_allowed_is_refused_for_good(cloud: AwsCloud, region: Region) -> None:
    region.layer.faults.denied = True
    with pytest.raises(Denied, match="role") as refused:
        await cloud.describe()
    assert not refused.value.retryable


async def test_the_budget_of_calls_refuses_what_would_wait_too_long(settings: Settings) -> None:
    cloud = AwsCloud(settings, AwsAccess(REGION, settings.aws_endpoint_url, calls_per_s=0.01))
    await cloud.describe()
    with pytest.raises(Throttled, match="TAMER_AWS_CALLS_PER_S"):
        await cloud.describe()


async def test_who_gives_up_on_a_slow_answer_leaves_it_to_the_next(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    await cloud.launch(request(instance_id))
    region.layer.calls.clear()
    region.layer.faults.slow = threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cloud.describe(), 0.05)
    region.layer.faults.slow.set()
    assert await find(cloud, instance_id) is not None
    assert region.layer.calls["DescribeInstances"] == 1


async def test_a_machine_that_came_twice_under_one_id_is_ended(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    first = await cloud.launch(request(instance_id))
    region.layer.answered.clear()  # EC2 forgets a token in time
    region.layer.faults.hidden_describes = 99
    second = await cloud.launch(request(instance_id))
    assert second.cloud_id != first.cloud_id
    region.layer.faults.hidden_describes = 0
    assert await find(cloud, instance_id) is not None
    told = region.ec2.describe_instances(InstanceIds=[first.cloud_id, second.cloud_id])
    states = [each["Instances"][0]["State"]["Name"] for each in told["Reservations"]]
    assert sorted(states) == ["running", "terminated"]


async def test_what_another_owner_runs_is_not_seen_and_not_ended(
    cloud: AwsCloud, region: Region, tmp_path: Path, instance_id: str
) -> None:
    other = AwsCloud(region.settings(tmp_path, f"other-{instance_id}"))
    theirs = await other.launch(request(instance_id))
    await cloud.terminate(instance_id)
    assert await find(cloud, instance_id) is None
    assert (await wait_for_state(other, instance_id, CloudInstanceState.RUNNING)) is not None
    assert theirs.cloud_id


async def test_a_spot_instance_that_the_cloud_took_says_so(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    launched = await cloud.launch(request(instance_id))
    region.take(launched.cloud_id)
    ended = await wait_for_state(cloud, instance_id, CloudInstanceState.TERMINATED)
    assert "SpotInstanceTermination" in ended.reason
    assert ended.taken


async def test_an_instance_that_somebody_ended_was_not_taken(
    cloud: AwsCloud, region: Region, instance_id: str
) -> None:
    launched = await cloud.launch(request(instance_id))
    region.ec2.terminate_instances(InstanceIds=[launched.cloud_id])
    ended = await wait_for_state(cloud, instance_id, CloudInstanceState.TERMINATED)
    assert not ended.taken


async def test_when_a_machine_ended_is_told_by_the_clouds_own_clock(
    cloud: AwsCloud, instance_id: str
) -> None:
    await cloud.launch(request(instance_id))
    await cloud.terminate(instance_id)
    ended = await wait_for_state(cloud, instance_id, CloudInstanceState.TERMINATED)
    assert 0.0 < ended.launched_at <= ended.ended_at < ended.launched_at + 60.0


async def test_all_pages_are_read(
    cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, region: Region
) -> None:
    monkeypatch.setattr("infra.cloud.aws.described._PAGE", 5)
    ids = [f"ins-{uuid.uuid4().hex[:12]}" for _ in range(12)]
    for each in ids:
        await cloud.launch(request(each, market=Market.ON_DEMAND))
    region.layer.calls.clear()
    assert set(ids) == {each.instance_id for each in await cloud.describe()}
    assert region.layer.calls["DescribeInstances"] == 3


async def test_a_zone_without_a_subnet_is_refused_by_the_name_of_the_setting(
    cloud: AwsCloud, instance_id: str
) -> None:
    with pytest.raises(Malformed, match="TAMER_AWS_SUBNETS"):
        await cloud.launch(request(instance_id, "us-east-1z"))


def test_the_setting_chooses_it(settings: Settings) -> None:
    assert isinstance(open_cloud(settings), AwsCloud)
