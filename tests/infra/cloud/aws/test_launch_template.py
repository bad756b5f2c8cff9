"""The launch template: found, made, read again, and refused where EC2 or a bill would suffer."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.client import AwsCloud
from infra.cloud.base import LaunchRequest, Market
from infra.cloud.refusals import CloudAway, Malformed
from infra.settings import Settings
from loadtests.ec2.moto import REGION
from tests.fixtures.ec2_region import Region

KIND, ZONE = "g6.xlarge", "us-east-1a"


@pytest.fixture
def settings(region: Region, tmp_path: Path) -> Settings:
    region.layer.answered.clear()
    return region.settings(tmp_path, f"owner-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def access(settings: Settings) -> AwsAccess:
    return AwsAccess(REGION, settings.aws_endpoint_url, settings.aws_calls_per_s)


@pytest.fixture
def instance_id() -> str:
    return f"ins-{uuid.uuid4().hex[:12]}"


def request(instance_id: str, market: Market = Market.SPOT) -> LaunchRequest:
    return LaunchRequest(instance_id, KIND, ZONE, market, {"TAMER_JOIN_TOKEN": "once"})


def with_template(settings: Settings, access: AwsAccess, name: str) -> AwsCloud:
    return AwsCloud(settings.model_copy(update={"aws_launch_template": name}), access)


async def test_the_template_that_we_made_is_found_behind_an_empty_page(
    settings: Settings, access: AwsAccess, region: Region, instance_id: str
) -> None:
    await AwsCloud(settings, access).launch(request(instance_id))
    region.layer.faults.empty_pages = 1
    region.layer.calls.clear()
    await AwsCloud(settings, access).launch(request(instance_id + "-2"))
    assert region.layer.calls["CreateLaunchTemplate"] == 0


async def test_a_machine_on_demand_is_not_asked_of_a_template_that_tags_spot_requests(
    settings: Settings, access: AwsAccess, region: Region, instance_id: str
) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}]
    named = region.template(settings.aws_owner, TagSpecifications=tags)
    cloud = with_template(settings, access, named)
    with pytest.raises(Malformed, match=f"{named} tags spot-instances-request"):
        await cloud.launch(request(instance_id, Market.ON_DEMAND))
    assert region.layer.calls["CreateFleet"] == 0
    assert (await cloud.launch(request(instance_id + "-2"))).cloud_id


async def test_a_template_whose_machines_nobody_could_end_is_refused(
    settings: Settings, access: AwsAccess, region: Region, instance_id: str
) -> None:
    named = region.template(settings.aws_owner, DisableApiTermination=True)
    with pytest.raises(Malformed, match="DisableApiTermination"):
        await with_template(settings, access, named).launch(request(instance_id, Market.ON_DEMAND))
    assert region.layer.calls["CreateFleet"] == 0


async def test_a_machine_of_our_own_template_is_gone_when_it_shuts_itself_down(
    settings: Settings, access: AwsAccess, region: Region, instance_id: str
) -> None:
    launched = await AwsCloud(settings, access).launch(request(instance_id, Market.ON_DEMAND))
    told = region.ec2.describe_instance_attribute(
        InstanceId=launched.cloud_id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert told["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


async def test_a_template_version_that_went_since_it_was_read_is_read_again(
    settings: Settings, access: AwsAccess, region: Region, instance_id: str
) -> None:
    named = region.template(settings.aws_owner)
    cloud = with_template(settings, access, named)
    await cloud.launch(request(instance_id))
    region.replace_version(named)
    region.layer.faults.gone_versions = 1
    await cloud.launch(request(instance_id + "-2"))
    version = "LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version"
    assert [each[version] for each in region.layer.fleets] == ["1", "1", "2"]
    assert len({each["ClientToken"] for each in region.layer.fleets[1:]}) == 1
    assert len(await cloud.describe()) == 2


async def test_a_template_that_we_made_and_that_is_not_found_yet_is_waited_for(
    settings: Settings, access: AwsAccess, region: Region, instance_id: str
) -> None:
    """EC2's servers need not know the same yet: that is nobody's failed start."""
    region.layer.faults.hidden_templates = True
    for _ in range(2):
        with pytest.raises(CloudAway) as refused:
            await AwsCloud(settings, access).launch(request(instance_id))
        assert refused.value.retryable
    region.layer.faults.hidden_templates = False
    cloud = AwsCloud(settings, access)
    await cloud.launch(request(instance_id))
    assert len(await cloud.describe()) == 1


async def test_a_template_that_is_named_and_not_there_is_refused_for_good(
    settings: Settings, access: AwsAccess, instance_id: str
) -> None:
    cloud = with_template(settings, access, "lt-0123456789abcdef0")
    with pytest.raises(Malformed, match=r"InvalidLaunchTemplateId\.NotFound"):
        await cloud.launch(request(instance_id))
