"""What EC2 is heard to sell: types in the zones that have them, at the prices of now."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.client import AwsCloud
from infra.cloud.base import Catalogue, CloudPool, Market
from infra.cloud.refusals import CloudAway
from infra.instance_types import aws_instance_types
from infra.performance.hardware import ACCELERATORS
from loadtests.ec2.moto import REGION
from tests.fixtures.ec2_region import Region

ZONE = "us-east-1a"


@pytest.fixture
async def cloud(region: Region, tmp_path: Path) -> AsyncIterator[AwsCloud]:
    settings = region.settings(tmp_path, f"owner-{uuid.uuid4().hex[:8]}")
    adapter = AwsCloud(settings, AwsAccess(REGION, settings.aws_endpoint_url, 1000.0))
    yield adapter
    await adapter.close()


async def test_spot_offers_have_live_prices_and_on_demand_ones_those_of_the_list(
    cloud: AwsCloud, region: Region
) -> None:
    region.layer.market.prices["g5.xlarge", ZONE] = 0.41
    offers = {each.pool: each for each in await cloud.offers()}
    spot = offers[CloudPool("g5.xlarge", ZONE, Market.SPOT)]
    steady = offers[CloudPool("g5.xlarge", ZONE, Market.ON_DEMAND)]
    assert (spot.usd_per_hour, steady.usd_per_hour) == (0.41, 1.006)
    assert (spot.accelerator, spot.devices, spot.vcpus, spot.region) == ("A10G", 1, 4, REGION)
    assert isinstance(cloud, Catalogue)
    assert len(offers) > 100


async def test_zones_without_a_subnet_are_not_offered(region: Region, tmp_path: Path) -> None:
    subnet = next(id for id, zone in region.layer.zones.items() if zone == ZONE)
    settings = region.settings(tmp_path, "owner")
    settings = settings.model_copy(update={"aws_subnets": f"{ZONE}={subnet}"})
    cloud = AwsCloud(settings, AwsAccess(REGION, settings.aws_endpoint_url, 1000.0))
    assert {each.pool.zone for each in await cloud.offers()} == {ZONE}
    await cloud.close()


async def test_asking_again_costs_no_call(cloud: AwsCloud, region: Region) -> None:
    first = await cloud.offers()
    calls = region.layer.calls.total()
    assert await cloud.offers() == first
    assert region.layer.calls.total() == calls


@pytest.mark.parametrize("action", ["GetSpotPlacementScores", "DescribeAvailabilityZones"])
async def test_scores_that_cannot_be_had_keep_nobody_from_the_offers(
    cloud: AwsCloud, region: Region, action: str
) -> None:
    region.layer.market.scores = {"use1-az1": 9}
    region.layer.faults.throttled_actions = frozenset({action})
    assert {each.score for each in await cloud.offers()} == {0}


async def test_pages_that_are_empty_are_not_the_end(cloud: AwsCloud, region: Region) -> None:
    whole = await cloud.offers()
    region.layer.faults.empty_pages = 2
    again = AwsCloud(cloud._settings, AwsAccess(REGION, region.endpoint, 1000.0))
    assert await again.offers() == whole


async def test_a_cloud_that_is_away_says_so(cloud: AwsCloud, region: Region) -> None:
    region.layer.faults.away = True
    with pytest.raises(CloudAway):
        await cloud.offers()


def test_every_listed_type_has_a_device_that_the_performance_model_knows() -> None:
    types = aws_instance_types(REGION)
    assert {each.accelerator for each in types.values()} <= ACCELERATORS.keys()
    assert types["g6e.12xlarge"].devices == 4


def test_prices_of_another_region_are_that_regions() -> None:
    assert aws_instance_types("eu-central-1")["g6e.xlarge"].usd_per_hour == pytest.approx(2.32625)
