"""A region of the stand-in: its endpoint, its subnets, its queues, what befalls its instances."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from loadtests.ec2.layer import Layer, LayerServer
from loadtests.ec2.machines import Machines
from loadtests.ec2.moto import KEY, REGION, Moto

IMAGE = "ami-12c6146b"
WARNING = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
_TAKEN = "Server.SpotInstanceTermination: Instance terminated by EC2"


class Region:
    """One for all tests of a process: ids, owners, queues and templates are each test's own."""

    def __init__(self, moto: Moto, layer: Layer, endpoint: str) -> None:
        self.layer = layer
        self.endpoint = endpoint
        self.moto = moto

    @property
    def subnets(self) -> str:
        """As TAMER_AWS_SUBNETS has them."""
        return ",".join(f"{zone}={subnet}" for subnet, zone in self.layer.zones.items())

    def environment(self, owner: str, template_id: str) -> dict[str, str]:
        """Of the processes of a control plane."""
        return {
            **credentials(),
            "TAMER_CLOUD": "aws",
            "TAMER_AWS_REGION": REGION,
            "TAMER_AWS_ENDPOINT_URL": self.endpoint,
            "TAMER_AWS_OWNER": owner,
            "TAMER_AWS_SUBNETS": self.subnets,
            "TAMER_AWS_LAUNCH_TEMPLATE": template_id,
        }

    def make_template(self, name: str, owner: str, user_data_base64: str) -> str:
        """A launch template as `terraform/modules/gpu_workers` makes one; returns its id."""
        answer = self.moto.ec2(
            "CreateLaunchTemplate",
            {
                "LaunchTemplateName": name,
                "LaunchTemplateData.ImageId": IMAGE,
                "LaunchTemplateData.UserData": user_data_base64,
                "LaunchTemplateData.InstanceInitiatedShutdownBehavior": "terminate",
                "LaunchTemplateData.MetadataOptions.HttpTokens": "required",
                "LaunchTemplateData.TagSpecification.1.ResourceType": "instance",
                "LaunchTemplateData.TagSpecification.1.Tag.1.Key": "tamer:owner",
                "LaunchTemplateData.TagSpecification.1.Tag.1.Value": owner,
            },
        )
        return answer.findtext(".//{*}launchTemplateId") or ""

    def make_queue(self, name: str) -> str:
        return str(self.moto.sqs("CreateQueue", {"QueueName": name})["QueueUrl"])

    def announce(self, queue_url: str, cloud_id: str, kind: str = WARNING) -> None:
        """As EventBridge would."""
        event = {
            "version": "0",
            "source": "aws.ec2",
            "detail-type": kind,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "detail": {"instance-id": cloud_id, "instance-action": "terminate"},
        }
        body = {"QueueUrl": queue_url, "MessageBody": json.dumps(event)}
        self.moto.sqs("SendMessage", body)

    def take(self, cloud_id: str) -> None:
        """The cloud takes a spot instance back, at once."""
        self.layer.end(cloud_id, _TAKEN)

    def end_by_hand(self, cloud_id: str) -> None:
        """Somebody terminates it in the console."""
        self.layer.end(cloud_id, "Client.UserInitiatedShutdown: User initiated shutdown")

    def running(self, owner: str) -> dict[str, str]:
        """Zones of the instances with this tag that have not ended, by cloud id."""
        fields = {"Filter.1.Name": "tag:tamer:owner", "Filter.1.Value.1": owner}
        told = self.moto.ec2("DescribeInstances", fields)
        return {
            item.findtext("{*}instanceId") or "": item.findtext("{*}placement/{*}availabilityZone")
            or ""
            for item in told.findall(".//{*}instancesSet/{*}item")
            if item.findtext("{*}instanceState/{*}name") in ("pending", "running")
        }


def credentials() -> dict[str, str]:
    """That the stand-in takes, and nothing of a real account's."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@contextmanager
def open_region(machines: Machines | None = None) -> Iterator[Region]:
    """A region with nothing wrong; its instances are processes where `machines` are given.

    Raises:
        ImportError: moto is not installed.
    """
    moto = Moto()
    try:
        told = moto.ec2("DescribeSubnets", {})
        zones = {
            item.findtext("{*}subnetId") or "": item.findtext("{*}availabilityZone") or ""
            for item in told.findall(".//{*}subnetSet/{*}item")
        }
        layer = Layer(moto, zones, machines)
        server = LayerServer(layer)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield Region(moto, layer, f"http://127.0.0.1:{server.server_port}")
        finally:
            layer.close()
            server.shutdown()
            server.server_close()
    finally:
        moto.stop()
