"""What the cloud sells now, asked beside the passes: a slow answer keeps nobody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from infra.cloud.base import Catalogue, CloudError, CloudOffer
from infra.ending import end_tasks
from infra.telemetry import logger

_LIMIT_S = 2.0

_log = logger(__name__)


class OfferWatch:
    """The adapter remembers prices for as long as they hold; this one only bounds the wait."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._asking: asyncio.Task[Sequence[CloudOffer]] | None = None
        self.trouble = ""
        """Why there is no answer."""

    async def offers(self) -> Sequence[CloudOffer] | None:
        """None where the cloud does not answer now; the question stays asked."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait({self._asking}, timeout=_LIMIT_S)
        if not self._asking.done():
            self.trouble = f"its prices are not known after {_LIMIT_S:g} s"
            return None
        # Whatever the answer is, it is not that of the next question.
        asking, self._asking = self._asking, None
        try:
            found = asking.result()
        except CloudError as error:
            if str(error) != self.trouble:
                _log.warning("the cloud's offers cannot be read", error=str(error))
            self.trouble = str(error)
            return None
        self.trouble = ""
        return found

    async def close(self) -> None:
        if self._asking is not None:
            await end_tasks(self._asking)

    async def _ask(self) -> Sequence[CloudOffer]:
        return await self._catalogue.offers()
