"""Notices: what the cloud says it will take back is replaced before it is gone.

One controller at a time reads them (a duty is leased). A notice is acknowledged after what follows
from it is written; it comes again when a controller died in between, and then changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from control_plane.controller.hold import LeaseLost, hold
from control_plane.controller.instance_step import Cause, InstanceStep
from control_plane.controller.limits import Limits
from control_plane.controller.pool_lessons import REBALANCE_LOSSES, learn_loss
from control_plane.controller.provisioning import explain_step
from control_plane.controller.question import Question
from control_plane.controller.world import World
from control_plane.store.clock import read_clock
from control_plane.store.repositories import duties, instances
from control_plane.store.session import Database
from control_plane.store.tables import Duty, Instance
from infra.cloud.base import CloudError, Notice, NoticeKind, NoticeSource
from infra.states import InstanceState
from infra.telemetry import logger

_PAUSE_S = 2.0
"""Between readings: EC2 leaves two minutes, and every reading is a call."""
_LATE_S = 10.0
"""A question that is open for longer is worth a word in the log."""
_STRANGERS_S = 150.0
"""A machine may be announced before the row of its launch knows its name; after so long it is not
ours."""
_REASON = "the cloud takes it away"
_COMING = (InstanceState.LAUNCHING, InstanceState.BOOTING)

_log = logger(__name__)


class NoticeReconciler:
    name = "notice"

    def __init__(
        self, database: Database, source: NoticeSource, cloud: str, limits: Limits
    ) -> None:
        self._database = database
        self._source = source
        self._cloud = cloud
        self._limits = limits
        self._next_s = 0.0
        self._strangers: dict[str, float] = {}
        """Since when, by our monotonic clock."""
        self._answers = True
        # A queue hides what it has handed out: a question that is given up is heard by nobody.
        self._waiting = Question(source.notices)
        self._asked_s = 0.0
        self._acted: list[Notice] = []
        """Not yet acknowledged."""
        self._acknowledging = Question(self._send)

    async def run(self, world: World | None, /) -> int:  # noqa: ARG002
        now_s = time.monotonic()
        if self._waiting.is_open:
            return self._complain("no answer in time") if now_s - self._asked_s > _LATE_S else 0
        if not self._waiting.is_asked:
            if now_s < self._next_s:
                return 0
            self._next_s = now_s + _PAUSE_S
        async with self._database.transaction() as session:
            await duties.ensure(session, duties.NOTICES)
        lease_s = self._limits.lease_s
        async with hold(self._database, Duty, duties.NOTICES, lease_s) as held:
            if held is None:
                return 0
            return await self._read()

    async def _read(self) -> int:
        if not self._waiting.is_asked:
            self._asked_s = time.monotonic()
            await self._waiting.put()
        try:
            waiting = self._waiting.take()
        except CloudError as error:
            return self._complain(str(error))
        if waiting is None:
            return 0
        self._answers = True
        known = [(each, await self._row(each)) for each in waiting]
        done, changed = [], 0
        for notice, row in known:
            acted = self._is_strange(notice) if row is None else await self._act(notice, row.id)
            if acted is not None:
                done.append(notice)
                changed += acted
        await self._acknowledge(done)
        return changed

    def _complain(self, error: str) -> int:
        """Once for each time that it stops to answer."""
        if self._answers:
            _log.warning("notices cannot be read", error=error)
        self._answers = False
        return 0

    async def _row(self, notice: Notice) -> Instance | None:
        async with self._database.snapshot() as session:
            return await instances.by_cloud_id(session, self._cloud, notice.cloud_id)

    def _is_strange(self, notice: Notice) -> int | None:
        """0: it is nobody of ours; None: it may yet be."""
        now_s = time.monotonic()
        since_s = self._strangers.setdefault(notice.cloud_id, now_s)
        self._strangers = {
            id: at_s for id, at_s in self._strangers.items() if now_s - at_s < 4 * _STRANGERS_S
        }
        return 0 if now_s - since_s > _STRANGERS_S else None

    async def _act(self, notice: Notice, instance_id: str) -> int | None:
        """How many rows changed; None where somebody else has the row, and it must come again."""
        async with hold(self._database, Instance, instance_id, self._limits.lease_s) as held:
            if held is None:
                return None
            try:
                async with held.apply() as session:
                    instance = await session.get_one(Instance, instance_id)
                    if notice.kind is NoticeKind.REBALANCE:
                        if not instance.warned:
                            await learn_loss(session, instance, REBALANCE_LOSSES)
                            instance.warned = True
                        return 0
                    state = InstanceState(instance.state)
                    to = _after_interruption(state)
                    if to is None:
                        return 0
                    await learn_loss(session, instance)
                    if state in _COMING:
                        await instances.refuse(session, instance_id, _REASON)
                    step = InstanceStep(to, _REASON, Cause.NOTICED)
                    await explain_step(session, instance, step, await read_clock(session))
                    changed = await instances.move(session, instance_id, state, to, _REASON)
            except LeaseLost:
                return None
        _log.info("noticed", instance_id=instance_id, cloud_id=notice.cloud_id, state=to.value)
        return int(changed)

    async def _acknowledge(self, done: Sequence[Notice]) -> None:
        """Beside the passes; those that it fails for come again, and then change nothing."""
        self._acted += done
        self._see_acknowledged()
        if self._acted:
            await self._acknowledging.put()
            self._see_acknowledged()

    def _see_acknowledged(self) -> None:
        try:
            self._acknowledging.take()
        except CloudError as error:
            _log.warning("notices could not be acknowledged; they come again", error=str(error))

    async def _send(self) -> None:
        acted, self._acted = self._acted, []
        await self._source.acknowledge(acted)


def _after_interruption(state: InstanceState) -> InstanceState | None:
    """None where it leaves already. Whoever waits for a machine that is not there yet is placed
    anew, whoever is on one drains while another starts."""
    if state is InstanceState.JOINED:
        return InstanceState.NOTICED
    return InstanceState.DRAINING if state in _COMING else None
