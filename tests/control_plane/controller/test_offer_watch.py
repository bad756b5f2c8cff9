"""What the cloud sells is asked beside the passes, and asked again after whatever went wrong."""

from __future__ import annotations

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


async def test_a_cloud_that_is_away_is_named_and_asked_again() -> None:
    watch = OfferWatch(Failing(CloudAway("no route")))
    assert (await watch.offers(), watch.trouble) == (None, "no route")
    assert (await watch.offers(), watch.trouble) == (MarketCloud().sold, "")


async def test_an_error_that_nobody_foresaw_is_not_the_answer_for_ever() -> None:
    watch = OfferWatch(Failing(KeyError("AvailabilityZoneId")))
    with pytest.raises(KeyError):
        await watch.offers()
    assert await watch.offers() == MarketCloud().sold
