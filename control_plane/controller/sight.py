"""What the cloud says of our machines, asked beside the passes and not in each of them.

A description of thousands of machines takes a cloud longer than a pass may, and costs calls of a
budget that a whole account shares. So it is asked again after a pause, in the background, and the
last answer is believed for a while, with its age: what it does not show may have come since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from control_plane.controller.metrics import CLOUD_AGE, NAMELESS_MACHINES
from control_plane.controller.question import Question
from infra.cloud.base import Cloud, CloudError, CloudInstance
from infra.telemetry import logger

_BELIEVED_S = 30.0
"""Older answers are none."""
_LATE_S = 10.0
"""A question that is open for longer is worth a word in the log."""

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    machines: Mapping[str, CloudInstance]
    """By our instance id."""
    age_s: float
    """Since the cloud was asked: what came after that is not in it."""


@dataclass(frozen=True, slots=True)
class _Answer:
    machines: Mapping[str, CloudInstance]
    asked_s: float


class CloudSight:
    """Of one controller; it belongs to its event loop."""

    def __init__(
        self, cloud: Cloud, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`every_s` may be 0: the cloud is asked at each look."""
        self._question = Question(cloud.describe)
        self._every_s = every_s
        self._clock = clock
        self._asked_s = float("-inf")
        self._last: _Answer | None = None
        self._answers = True
        self._nameless: frozenset[str] = frozenset()

    async def look(self) -> Sighting | None:
        """The newest answer; None where there is none that can be believed. Never raises."""
        self._take()
        now_s = self._clock()
        if not self._question.is_asked and now_s - self._asked_s >= self._every_s:
            self._asked_s = now_s
            await self._question.put(patient=self._age_s(now_s) >= 2 * self._every_s)
            self._take()
        if self._question.is_open and now_s - self._asked_s > _LATE_S:
            self._complain("no answer in time")
        age_s = self._age_s(self._clock())
        believed = self._last is not None and age_s <= max(_BELIEVED_S, 3 * self._every_s)
        CLOUD_AGE.set(age_s if believed else float("inf"))
        if self._last is None or not believed:
            return None
        return Sighting(self._last.machines, age_s)

    async def close(self) -> None:
        await self._question.close()

    def _age_s(self, now_s: float) -> float:
        return float("inf") if self._last is None else now_s - self._last.asked_s

    def _take(self) -> None:
        """The answer, if it has come."""
        try:
            found = self._question.take()
        except CloudError as error:
            self._last = None
            self._complain(str(error))
            return
        if found is None:
            return
        self._answers = True
        self._count_nameless(found)
        named = {each.instance_id: each for each in found if each.instance_id}
        self._last = _Answer(named, self._asked_s)

    def _complain(self, error: str) -> None:
        """Once for each time that it stops to answer."""
        if self._answers:
            log.warning("the cloud does not answer", error=error)
        self._answers = False

    def _count_nameless(self, found: Sequence[CloudInstance]) -> None:
        """A launch tags owner and id in one step, so who has the one and not the other was started
        by a person, from our launch template: it is theirs to end."""
        nameless = frozenset(each.cloud_id for each in found if not each.instance_id)
        for cloud_id in nameless - self._nameless:
            log.error("a machine of ours carries no id: end it by hand", cloud_id=cloud_id)
        self._nameless = nameless
        NAMELESS_MACHINES.set(len(nameless))
