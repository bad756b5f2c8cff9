"""The cloud that launches nothing."""

from __future__ import annotations

import pytest

from infra.cloud import UnknownCloud, open_cloud
from infra.cloud.base import CloudError, LaunchRequest, Market
from infra.cloud.joined import JoinedCloud
from infra.settings import Settings


async def test_a_launch_is_refused_for_good_with_what_to_type_instead() -> None:
    request = LaunchRequest("ins-1", "joined", "joined", Market.ON_DEMAND, {})
    with pytest.raises(CloudError, match="tamer worker token") as refused:
        await JoinedCloud().launch(request)
    assert not refused.value.retryable


async def test_it_knows_no_machine_and_ends_none() -> None:
    cloud = JoinedCloud()
    await cloud.terminate("ins-1")
    assert list(await cloud.describe()) == []
    await cloud.close()


def test_settings_choose_it_and_another_name_is_refused() -> None:
    assert isinstance(open_cloud(Settings(cloud="joined")), JoinedCloud)
    with pytest.raises(UnknownCloud, match="'local', 'aws', or 'joined'"):
        open_cloud(Settings(cloud="elsewhere"))
