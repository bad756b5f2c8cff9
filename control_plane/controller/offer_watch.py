"""What the cloud sells, asked beside the passes: a slow answer keeps nobody waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from control_plane.controller.question import Question
from infra.cloud.base import Catalogue, CloudError, CloudOffer
from infra.telemetry import logger

_BELIEVED_S = 300.0
"""Older answers are none. Prices move slowly, and a machine is charged at what it costs then."""
_NEW_S = 90.0
"""The adapter's prices are up to a minute old themselves, and some ask once a minute."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Offered:
    offers: Sequence[CloudOffer]
    age_s: float
    """Since the cloud was asked."""


class OfferWatch:
    """The adapter remembers prices for as long as they hold; this one remembers them for while the
    cloud does not answer."""

    def __init__(
        self,
        catalogue: Catalogue,
        clock: Callable[[], float] = time.monotonic,
        moment_s: float | None = None,
    ) -> None:
        """`moment_s`: as `Question` has it."""
        self._question = Question(catalogue.offers, moment_s)
        self._clock = clock
        self._asked_s = 0.0
        self._last: tuple[Sequence[CloudOffer], float] | None = None
        """With the time at which it was asked for."""
        self.trouble = ""
        """Why there is no answer of now."""

    async def offers(self) -> Offered | None:
        """The newest answer with its age; None where there is none that can be believed. The
        question stays asked."""
        now_s = self._clock()
        self._take()
        if not self._question.is_asked:
            self._asked_s = now_s
            await self._question.put()
            self._take()
        if self._question.is_open:
            self.trouble = "it has not answered yet"
        if self._last is None or now_s - self._last[1] > _BELIEVED_S:
            return None
        return Offered(self._last[0], now_s - self._last[1])

    async def newest(self) -> Sequence[CloudOffer] | None:
        """As the cloud has just told them, or not at all: for what nobody waits for."""
        found = await self.offers()
        return found.offers if found is not None and found.age_s <= _NEW_S else None

    async def close(self) -> None:
        await self._question.close()

    def _take(self) -> None:
        """The answer, if it has come. Whatever it is, it is not that of the next question."""
        try:
            found = self._question.take()
        except CloudError as error:
            if str(error) != self.trouble:
                _log.warning("the cloud's offers cannot be read", error=str(error))
            self.trouble = str(error)
            return
        if found is not None:
            self._last, self.trouble = (found, self._asked_s), ""
