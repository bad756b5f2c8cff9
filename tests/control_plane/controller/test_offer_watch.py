"""What the cloud sells is asked beside the passes, and asked again after whatever went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from control_plane.controller.offer_watch import OfferWatch
from infra.cloud.base import CloudOffer
from infra.cloud.refusals import CloudAway
from tests.control_plane.controller.market_cloud import MarketCloud


class Failing(MarketCloud):
    """Answers once it has run out of errors."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    async def offers(self) -> Sequence[CloudOffer]:
        if self.errors:
            raise self.errors.pop(0)
        return await super().offers()


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Hanging(MarketCloud):
    """Takes a question and answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()

    async def offers(self) -> Sequence[CloudOffer]:
        self.asked += 1
        await self.free.wait()
        return await super().offers()


async def test_a_cloud_that_is_away_is_named_and_asked_again() -> None:
    watch = OfferWatch(Failing(CloudAway("no route")))
    assert (await watch.offers(), watch.trouble) == (None, "no route")
    found = await watch.offers()
    assert found is not None
    assert (found.offers, watch.trouble) == (MarketCloud().sold, "")


async def test_an_error_that_nobody_foresaw_is_not_the_answer_for_ever() -> None:
    watch = OfferWatch(Failing(KeyError("AvailabilityZoneId")))
    with pytest.raises(KeyError):
        await watch.offers()
    found = await watch.offers()
    assert found is not None
    assert found.offers == MarketCloud().sold


async def test_while_the_cloud_hangs_its_last_offers_stand_with_their_age() -> None:
    cloud, clock = Hanging(), Clock()
    watch = OfferWatch(cloud, clock)
    first = await watch.offers()
    assert first is not None
    assert first.age_s == 0.0
    cloud.free.clear()
    clock.now_s += 70.0
    old = await watch.offers()
    assert old is not None
    assert (old.offers, old.age_s, watch.trouble) == (cloud.sold, 70.0, "it has not answered yet")
    assert await watch.newest() is not None
    clock.now_s += 70.0
    assert await watch.newest() is None, "nothing is moved by prices that may have moved"
    assert cloud.asked == 2
    await watch.close()


async def test_offers_are_not_believed_for_ever() -> None:
    cloud, clock = Hanging(), Clock()
    watch = OfferWatch(cloud, clock)
    await watch.offers()
    cloud.free.clear()
    clock.now_s += 3600.0
    assert (await watch.offers(), watch.trouble) == (None, "it has not answered yet")
    cloud.free.set()
    await asyncio.sleep(0)
    new = await watch.offers()
    assert new is not None
    assert (new.age_s, watch.trouble) == (0.0, "")
