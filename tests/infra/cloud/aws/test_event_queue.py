"""Notices through a real SQS protocol."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.client import AwsCloud
from infra.cloud.base import NoticeKind
from infra.cloud.refusals import CloudAway
from loadtests.ec2.moto import REGION
from loadtests.ec2.region import REBALANCE
from tests.fixtures.ec2_region import Region


@pytest.fixture
def queue_url(region: Region) -> str:
    return region.make_queue(f"events-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def cloud(region: Region, queue_url: str, tmp_path: Path) -> AwsCloud:
    settings = region.settings(tmp_path, "owner", aws_events_queue_url=queue_url)
    return AwsCloud(settings, AwsAccess(REGION, region.endpoint, 1000.0))


def again(region: Region, queue_url: str, receipt: str) -> None:
    """Its visibility timeout is over."""
    region.sqs.change_message_visibility(
        QueueUrl=queue_url, ReceiptHandle=receipt, VisibilityTimeout=0
    )


async def test_interruptions_and_recommendations_are_notices(
    cloud: AwsCloud, region: Region, queue_url: str
) -> None:
    region.announce(queue_url, "i-1")
    region.announce(queue_url, "i-2", REBALANCE)
    found = {(each.cloud_id, each.kind) for each in await cloud.notices()}
    assert found == {("i-1", NoticeKind.INTERRUPTION), ("i-2", NoticeKind.REBALANCE)}


async def test_a_notice_comes_again_until_it_is_acknowledged(
    cloud: AwsCloud, region: Region, queue_url: str
) -> None:
    region.announce(queue_url, "i-1")
    (first,) = await cloud.notices()
    assert await cloud.notices() == []
    again(region, queue_url, first.receipt)
    (second,) = await cloud.notices()
    assert (second.cloud_id, second.at) == (first.cloud_id, first.at)
    await cloud.acknowledge([second])
    told = region.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    assert told["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert told["Attributes"]["ApproximateNumberOfMessages"] == "0"


async def test_more_notices_than_one_call_takes_are_read_and_acknowledged(
    cloud: AwsCloud, region: Region, queue_url: str
) -> None:
    for i in range(23):
        region.announce(queue_url, f"i-{i}")
    notices = await cloud.notices()
    assert {each.cloud_id for each in notices} == {f"i-{i}" for i in range(23)}
    await cloud.acknowledge(notices)
    told = region.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    assert told["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


@pytest.mark.parametrize("body", ["", "{}", "not json", '{"detail-type": "EC2 Something Else"}'])
async def test_what_is_no_notice_is_deleted(
    cloud: AwsCloud, region: Region, queue_url: str, body: str
) -> None:
    region.sqs.send_message(QueueUrl=queue_url, MessageBody=body or " ")
    region.announce(queue_url, "i-1")
    notices = await cloud.notices()
    assert [each.cloud_id for each in notices] == ["i-1"]
    await cloud.acknowledge(notices)
    told = region.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    assert told["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


async def test_without_a_queue_nothing_is_announced_and_nobody_asked(
    region: Region, tmp_path: Path
) -> None:
    assert await AwsCloud(region.settings(tmp_path, "owner")).notices() == []
    assert region.layer.calls.total() == 0


async def test_a_queue_that_cannot_be_reached_is_a_cloud_error(
    cloud: AwsCloud, region: Region
) -> None:
    region.layer.faults.away = True
    with pytest.raises(CloudAway):
        await cloud.notices()


@pytest.mark.parametrize("action", ["ReceiveMessage", "DeleteMessageBatch"])
async def test_notices_that_were_heard_before_a_refusal_are_not_lost_with_it(
    cloud: AwsCloud, region: Region, queue_url: str, action: str
) -> None:
    for number in range(10):
        region.announce(queue_url, f"i-{number}")
    region.sqs.send_message(QueueUrl=queue_url, MessageBody="nobody's")
    if action == "DeleteMessageBatch":
        region.layer.faults.denied_actions = frozenset({action})
    else:
        region.layer.faults.expires_after = 1
    heard = {each.cloud_id for each in await cloud.notices()}
    assert heard
    assert heard <= {f"i-{number}" for number in range(10)}
