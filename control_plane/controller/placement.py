"""Placement: who waits for a machine gets one, from a plan over all deployments.

One controller at a time plans (a duty is leased); the programme is solved in a thread, with no
transaction open, and each of its parts is written over rows that still say what they said.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from control_plane.controller import placement_outcome
from control_plane.controller.consolidation import consolidate
from control_plane.controller.hold import Hold, LeaseLost, hold
from control_plane.controller.limits import Limits
from control_plane.controller.live import LiveRows
from control_plane.controller.offer_watch import OfferWatch
from control_plane.controller.placement_plan import PlacementPlan, plan_placement
from control_plane.controller.placement_rows import PlacementRows, anybody_waits, load
from control_plane.controller.spare import REPLACED, spares
from control_plane.controller.world import World
from control_plane.store.repositories import duties
from control_plane.store.session import Database
from control_plane.store.tables import Duty
from infra.cloud.base import Catalogue
from infra.telemetry import logger

_REST_S = 5.0
"""After a plan that could place nobody: what it waits for, pools that open again, takes minutes."""
_MOVES_S = 60.0
"""As often as prices are known anew."""

_log = logger(__name__)


class PlacementReconciler:
    name = "placement"

    def __init__(
        self, database: Database, live: LiveRows, catalogue: Catalogue, cloud: str, limits: Limits
    ) -> None:
        self._database = database
        self._live = live
        self._watch = OfferWatch(catalogue)
        self._cloud = cloud
        self._limits = limits
        self._rest_until_s = 0.0
        self._next_move_s = 0.0

    async def run(self, world: World | None, /) -> int:
        if world is None:
            return 0
        now_s = time.monotonic()
        waits = anybody_waits(await self._live.read())
        if now_s < (self._rest_until_s if waits else self._next_move_s):
            return 0
        if not waits:
            self._next_move_s = now_s + _MOVES_S
        async with self._database.transaction() as session:
            await duties.ensure(session, duties.PLACEMENT)
        lease_s = self._limits.lease_s
        async with hold(self._database, Duty, duties.PLACEMENT, lease_s) as held:
            if held is None:
                return 0
            try:
                return await (self._place(held) if waits else self._move(held))
            except LeaseLost:
                _log.info("placement was taken over")
            return 0

    async def _place(self, held: Hold) -> int:
        rows, made = await self._plan()
        if made is not None:
            return await self._carry_out(held, rows, made)
        if self._watch.trouble:
            reason = f"waits for what the cloud offers: {self._watch.trouble}"
            return await self._tell(held, rows, reason)
        return 0

    async def _move(self, held: Hold) -> int:
        """Off a machine that costs more than what would do as well."""
        async with self._database.snapshot() as session:
            rows = await load(session, self._cloud)
        told = await self._watch.newest() if rows.instances else None
        if told is None:
            return 0
        move = await asyncio.to_thread(consolidate, rows, told)
        async with held.apply() as session:
            changed = await placement_outcome.insure(session, spares(rows, told), REPLACED)
            if move is None:
                return changed
            changed += await placement_outcome.retire(session, move)
        _log.info("moved", instance_id=move.instance_id, reason=move.reason, replicas=changed)
        return changed

    async def _plan(self) -> tuple[PlacementRows, PlacementPlan | None]:
        told = await self._watch.offers()
        async with self._database.snapshot() as session:
            rows = await load(session, self._cloud)
        if told is None or not rows.waits:
            return rows, None
        made = await asyncio.to_thread(plan_placement, rows, told.offers)
        return rows, replace(made, offers_age_s=told.age_s)

    async def _carry_out(self, held: Hold, rows: PlacementRows, made: PlacementPlan) -> int:
        async with held.apply() as session:
            placed = await placement_outcome.carry_out(session, self._cloud, made)
            changed = len(placed)
            for each in rows.placed:
                left = [replica for replica in each.waiting if replica.id not in placed]
                why = made.why_not(each.id)
                told = await placement_outcome.tell(session, left, why) if why else 0
                if told or any(replica.id in placed for replica in each.waiting):
                    await placement_outcome.explain(session, each, made)
                changed += told
        if not placed:
            self._rest_until_s = time.monotonic() + _REST_S
        for machine in made.new:
            _log.info(
                "placed",
                instance_type=machine.pool.instance_type,
                zone=machine.pool.zone,
                market=machine.pool.market,
                usd_per_hour=machine.usd_per_hour,
                replicas=len(machine.replicas),
            )
        return changed

    async def _tell(self, held: Hold, rows: PlacementRows, reason: str) -> int:
        async with held.apply() as session:
            waiting = [replica for each in rows.placed for replica in each.waiting]
            return await placement_outcome.tell(session, waiting, reason)
