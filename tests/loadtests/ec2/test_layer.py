"""The stand-in refuses what EC2 refuses."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.fixtures.ec2_region import Region, client

KIND, ZONE = "g6.xlarge", "us-east-1a"


class Asker:
    """Asks for fleets in whatever words."""

    def __init__(self, region: Region, **data: Any) -> None:
        self.ec2 = client("ec2", region.endpoint)
        self.template = region.template(uuid.uuid4().hex[:8], **data)

    def fleet(
        self,
        *zones: str,
        token: str = "",
        tagged: str = "instance",
        version: str = "1",
        market: str = "spot",
    ) -> Any:
        tags = [{"ResourceType": tagged, "Tags": [{"Key": "a", "Value": "b"}]}]
        overrides = [{"InstanceType": KIND, "AvailabilityZone": zone} for zone in zones]
        specification = {"LaunchTemplateId": self.template, "Version": version}
        return self.ec2.create_fleet(
            Type="instant",
            ClientToken=token or uuid.uuid4().hex,
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": specification, "Overrides": overrides}
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": 1,
                "DefaultTargetCapacityType": market,
            },
            TagSpecifications=tags,
        )

    def launch(self, market: str = "on-demand") -> str:
        [group] = self.fleet(ZONE, market=market)["Instances"]
        return str(group["InstanceIds"][0])

    def refused(self, code: str) -> Any:
        return pytest.raises(self.ec2.exceptions.ClientError, match=rf"\({code}\)")


def test_a_fleet_names_each_pool_once(region: Region) -> None:
    asker = Asker(region)
    with asker.refused("InvalidFleetConfig"):
        asker.fleet(ZONE, ZONE)


def test_a_fleet_tags_no_spot_request(region: Region) -> None:
    asker = Asker(region)
    with asker.refused("InvalidParameterValue"):
        asker.fleet(ZONE, tagged="spot-instances-request")


def test_a_token_is_good_for_the_same_words_alone(region: Region) -> None:
    asker, token = Asker(region), uuid.uuid4().hex
    with asker.refused(r"InvalidLaunchTemplateId\.VersionNotFound"):
        asker.fleet(ZONE, token=token, version="7")
    first = asker.fleet(ZONE, token=token)
    assert first["Instances"], "what was refused has used no token"
    assert asker.fleet(ZONE, token=token)["Instances"] == first["Instances"]
    with asker.refused("IdempotentParameterMismatch"):
        asker.fleet("us-east-1b", token=token)


def test_no_machine_on_demand_comes_of_a_template_that_tags_spot_requests(region: Region) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}]
    asker = Asker(region, TagSpecifications=tags)
    told = asker.fleet(ZONE, market="on-demand")
    assert not told["Instances"]
    assert [each["ErrorCode"] for each in told["Errors"]] == ["InvalidParameterValue"]
    assert asker.fleet(ZONE)["Instances"]


def test_a_protected_instance_keeps_those_of_its_zone(region: Region) -> None:
    asker, free = Asker(region, DisableApiTermination=True), Asker(region)
    kept, beside = asker.launch(), free.launch()
    with asker.refused("OperationNotPermitted"):
        asker.ec2.terminate_instances(InstanceIds=[kept, beside])
    told = asker.ec2.describe_instances(InstanceIds=[kept, beside])["Reservations"]
    states = [each["State"]["Name"] for group in told for each in group["Instances"]]
    assert states == ["running", "running"]
    asker.ec2.terminate_instances(InstanceIds=[beside])
    asker.ec2.terminate_instances(InstanceIds=[asker.launch("spot")])


def test_one_unknown_instance_keeps_all(region: Region) -> None:
    asker = Asker(region)
    there = asker.launch()
    with asker.refused(r"InvalidInstanceID\.NotFound"):
        asker.ec2.terminate_instances(InstanceIds=[there, "i-0123456789abcdef0"])
    told = asker.ec2.describe_instances(InstanceIds=[there])["Reservations"]
    assert told[0]["Instances"][0]["State"]["Name"] == "running"


def test_an_instance_that_is_not_shown_yet_is_unknown_to_who_names_it(region: Region) -> None:
    asker = Asker(region)
    region.layer.faults.hidden_describes = 1
    new = asker.launch()
    with asker.refused(r"InvalidInstanceID\.NotFound"):
        asker.ec2.describe_instances(InstanceIds=[new])
    assert asker.ec2.describe_instances(InstanceIds=[new])["Reservations"]
