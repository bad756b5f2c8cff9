"""The example on an EC2, S3, SQS, EventBridge and IAM that answer over HTTP."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from typing import Any

import boto3
import pytest

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.launch_template import open_template
from infra.settings import Settings
from loadtests.ec2.user_data import rendered
from tests.terraform.conftest import REGION, WHEEL
from tests.terraform.working_copy import WorkingCopy

EXAMPLE = "examples/minimal"
_SETTING = re.compile(r"^export (\w+)=\"\$\{\w+:-(.*)\}\"$", re.MULTILINE)


@pytest.fixture
def outputs(applied: WorkingCopy) -> dict[str, Any]:
    return applied.outputs(EXAMPLE)


def _client(aws: str, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=aws,
        region_name=REGION,
        aws_access_key_id="tests",
        aws_secret_access_key="tests",
    )


def test_a_second_plan_is_empty(applied: WorkingCopy) -> None:
    applied.run(EXAMPLE, "plan", "-detailed-exitcode", "-input=false", "-no-color")


def test_the_output_is_a_settings_file(outputs: dict[str, Any]) -> None:
    written = tomllib.loads(outputs["tamer_toml"])
    assert {f"TAMER_{name.upper()}": value for name, value in written.items()} == outputs[
        "tamer_environment"
    ]
    assert written["cloud"] == "aws"
    assert written["aws_owner"] == "tests"
    assert set(written) <= set(Settings.model_fields)


def test_a_fleet_launches_into_the_subnet_of_each_zone(aws: str, outputs: dict[str, Any]) -> None:
    ec2, told = _client(aws, "ec2"), outputs["tamer_environment"]
    pairs = dict(pair.split("=") for pair in told["TAMER_AWS_SUBNETS"].split(","))
    assert sorted(pairs) == [f"{REGION}a", f"{REGION}b"]
    for zone, subnet in pairs.items():
        template = {"LaunchTemplateId": told["TAMER_AWS_LAUNCH_TEMPLATE"], "Version": "$Default"}
        override = {"InstanceType": "g6.xlarge", "SubnetId": subnet}
        fleet = ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": template, "Overrides": [override]}
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": 1,
                "DefaultTargetCapacityType": "on-demand",
            },
        )
        ids = [each for group in fleet["Instances"] for each in group["InstanceIds"]]
        (reservation,) = ec2.describe_instances(InstanceIds=ids)["Reservations"]
        (instance,) = reservation["Instances"]
        ec2.terminate_instances(InstanceIds=ids)
        assert instance["Placement"]["AvailabilityZone"] == zone
        assert {"Key": "tamer:owner", "Value": "tests"} in instance["Tags"]


def test_the_template_asks_for_imdsv2_and_boots_the_wheel(
    aws: str, outputs: dict[str, Any]
) -> None:
    template = outputs["tamer_environment"]["TAMER_AWS_LAUNCH_TEMPLATE"]
    answer = _client(aws, "ec2").describe_launch_template_versions(LaunchTemplateId=template)
    data = answer["LaunchTemplateVersions"][-1]["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    script = base64.b64decode(data["UserData"]).decode()
    assert script.startswith("#!/bin/bash\n")
    settings = dict(_SETTING.findall(script.partition("\nwheel=")[0]))
    assert settings["TAMER_STORAGE_URL"].startswith("s3://")
    assert script == rendered(settings, wheel_url=WHEEL), "as the end-to-end tests boot it"
    assert "tamer-0.1.0-py3-none-any.whl" in script


def test_the_control_plane_launches_from_the_template_in_either_market(
    aws: str, outputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 refuses on demand what tags a spot request, and nobody ends what is protected."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    named = outputs["tamer_environment"]["TAMER_AWS_LAUNCH_TEMPLATE"]
    access = AwsAccess(REGION, aws, calls_per_s=100.0)
    opened = open_template(access, Settings(aws_launch_template=named))
    assert (opened.id, opened.tags_spot_requests) == (named, False)
    answer = _client(aws, "ec2").describe_launch_template_versions(LaunchTemplateId=named)
    data = answer["LaunchTemplateVersions"][-1]["LaunchTemplateData"]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_an_interruption_reaches_the_queue(aws: str, outputs: dict[str, Any]) -> None:
    warning = {
        "Source": "aws.ec2",
        "DetailType": "EC2 Spot Instance Interruption Warning",
        "Detail": json.dumps({"instance-id": "i-1", "instance-action": "terminate"}),
    }
    other = {**warning, "DetailType": "EC2 Instance State-change Notification"}
    _client(aws, "events").put_events(Entries=[other, warning])
    queue = outputs["tamer_environment"]["TAMER_AWS_EVENTS_QUEUE_URL"]
    told = _client(aws, "sqs").receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
    )
    details = [json.loads(each["Body"])["detail-type"] for each in told["Messages"]]
    assert details == [warning["DetailType"]]


def test_destroy_leaves_nothing(applied: WorkingCopy, aws: str) -> None:
    """The last of the file: what it destroys is what the others look at."""
    applied.run(EXAMPLE, "destroy", "-auto-approve", "-input=false", "-no-color", "-parallelism=20")
    assert applied.run(EXAMPLE, "state", "list") == ""
    ours = [{"Name": "tag:tamer:owner", "Values": ["tests"]}]
    assert not _client(aws, "ec2").describe_launch_templates(Filters=ours)["LaunchTemplates"]
    assert not _client(aws, "s3").list_buckets()["Buckets"]
    assert not _client(aws, "sqs").list_queues().get("QueueUrls")
