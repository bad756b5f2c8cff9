"""What EC2 says of prices and capacity."""

from __future__ import annotations

import pytest

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.placement_scores import PlacementScores
from infra.cloud.aws.spot_prices import SpotPrices
from infra.cloud.base import CloudPool, Market
from infra.cloud.refusals import CloudAway
from infra.instance_types import aws_instance_types
from loadtests.ec2.moto import REGION
from tests.fixtures.ec2_region import Region

KIND = "g6.xlarge"


@pytest.fixture
def access(region: Region) -> AwsAccess:
    return AwsAccess(REGION, region.endpoint, calls_per_s=1000.0)


def spot(zone: str) -> CloudPool:
    return CloudPool(KIND, zone, Market.SPOT)


async def test_spot_prices_are_those_of_now_by_zone(access: AwsAccess, region: Region) -> None:
    region.layer.market.prices = {(KIND, "us-east-1a"): 0.25, (KIND, "us-east-1b"): 0.5}
    prices = await SpotPrices(access).of([KIND])
    assert (prices[spot("us-east-1a")], prices[spot("us-east-1b")]) == (0.25, 0.5)


async def test_prices_that_were_asked_for_a_moment_ago_cost_no_call(
    access: AwsAccess, region: Region
) -> None:
    prices = SpotPrices(access)
    await prices.of([KIND])
    region.layer.market.prices = {(KIND, "us-east-1a"): 9.0}
    usual = aws_instance_types(REGION)[KIND].usd_per_hour / 3
    assert (await prices.of([KIND, KIND]))[spot("us-east-1a")] == pytest.approx(usual, abs=1e-3)
    assert region.layer.calls["DescribeSpotPriceHistory"] == 1


async def test_a_price_that_moved_is_seen_when_the_old_one_is_too_old(
    access: AwsAccess, region: Region
) -> None:
    prices = SpotPrices(access, keep_s=0.0)
    await prices.of([KIND])
    region.layer.market.prices = {(KIND, "us-east-1a"): 2.0}
    assert (await prices.of([KIND]))[spot("us-east-1a")] == 2.0


async def test_scores_speak_of_zones_by_name(access: AwsAccess, region: Region) -> None:
    told = region.ec2.describe_availability_zones()["AvailabilityZones"]
    ids = {each["ZoneName"]: each["ZoneId"] for each in told}
    region.layer.market.scores = {ids["us-east-1a"]: 9, ids["us-east-1b"]: 3, "elsewhere": 1}
    scores = await PlacementScores(access).of([KIND], 4)
    assert scores == {"us-east-1a": 9, "us-east-1b": 3}


async def test_where_scores_are_not_offered_there_are_none(
    access: AwsAccess, region: Region
) -> None:
    assert await PlacementScores(access).of([KIND], 4) == {}


@pytest.mark.parametrize("action", ["GetSpotPlacementScores", "DescribeAvailabilityZones"])
async def test_scores_that_cannot_be_had_are_those_of_before(
    access: AwsAccess, region: Region, action: str
) -> None:
    told = region.ec2.describe_availability_zones()["AvailabilityZones"]
    ids = {each["ZoneName"]: each["ZoneId"] for each in told}
    region.layer.market.scores = {ids["us-east-1a"]: 9}
    scores = PlacementScores(access, keep_s=0.0)
    region.layer.faults.throttled_actions = frozenset({action})
    assert await scores.of([KIND], 4) == {}
    region.layer.faults.throttled_actions = frozenset()
    assert await scores.of([KIND], 4) == {"us-east-1a": 9}
    region.layer.faults.throttled_actions = frozenset({"GetSpotPlacementScores"})
    assert await scores.of([KIND], 4) == {"us-east-1a": 9}


async def test_scores_that_take_too_long_keep_nobody_from_the_offers(
    access: AwsAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cloud.aws.access._WORK_LIMIT_S", 0.0)
    assert await PlacementScores(access).of([KIND], 4) == {}


async def test_prices_behind_empty_pages_are_read(access: AwsAccess, region: Region) -> None:
    region.layer.faults.empty_pages = 3
    region.layer.market.prices = {(KIND, "us-east-1a"): 0.25}
    assert (await SpotPrices(access).of([KIND]))[spot("us-east-1a")] == 0.25
    assert region.layer.calls["DescribeSpotPriceHistory"] == 4


def test_a_page_that_follows_itself_is_not_read_for_ever(
    access: AwsAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "call", lambda *_, **__: {"NextToken": "again"})
    with pytest.raises(CloudAway, match="same page"):
        access.pages("ec2", "describe_spot_price_history", "SpotPriceHistory")
