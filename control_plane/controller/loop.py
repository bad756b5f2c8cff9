"""The controller's loop: pass after pass, at every bell and after every pause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from control_plane.autoscaler.crash_loop import CrashPolicy
from control_plane.controller.assignment import AssignmentPublisher
from control_plane.controller.census import Census
from control_plane.controller.charge_book import ChargeBook
from control_plane.controller.deployment import DeploymentReconciler
from control_plane.controller.instance import InstanceReconciler
from control_plane.controller.leak import LeakAudit
from control_plane.controller.limits import Limits
from control_plane.controller.live import LiveRows
from control_plane.controller.metrics import PASS_DURATION, RECONCILE_ERRORS
from control_plane.controller.notice import NoticeReconciler
from control_plane.controller.operation import OperationReconciler
from control_plane.controller.placement import PlacementReconciler
from control_plane.controller.price_book import PriceBook
from control_plane.controller.projection import REPEAT_S, ProjectionReconciler
from control_plane.controller.reconciler import Reconciler
from control_plane.controller.replica import ReplicaReconciler
from control_plane.controller.rollout import RolloutReconciler
from control_plane.controller.scaling_watch import ScalingWatch
from control_plane.controller.spending_book import SpendingBook
from control_plane.controller.start import StartLedger
from control_plane.controller.token_book import TokenBook
from control_plane.controller.world import Watch, World
from control_plane.store.session import Database
from control_plane.tasks.messages import BrokerAway, Messages
from control_plane.tasks.secret import control_plane_secret
from infra.cloud.base import Catalogue, Cloud, NoticeSource
from infra.connection import RedisClient
from infra.projection import ProjectionPublisher
from infra.registry import Registry
from infra.settings import Settings
from infra.telemetry import logger
from infra.waiting import set_within

_SHORTEST_PAUSE_S = 0.02
"""Between passes that each changed something."""

log = logger(__name__)


class Controller:
    """Several may run at once: what one of them does to a row, the others find done."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        jobs: RedisClient,
        cloud: Cloud,
        messages: Messages,
    ) -> None:
        limits = Limits.of(settings)
        crash = CrashPolicy(
            first_wait_s=settings.crash_wait_s,
            limit=settings.crash_limit,
            limit_usd=settings.crash_limit_usd,
        )
        registry = Registry(jobs)
        self._registry = registry
        self._pause_s = settings.reconcile_s
        self._live = live = LiveRows(database)
        self._meter_s = settings.meter_s
        self._watch = Watch(live, registry, cloud, limits.describe_every_s)
        # From demand down to the message to Celery in one pass.
        self._reconcilers: Sequence[Reconciler] = (
            RolloutReconciler(database, live, jobs, crash),
            DeploymentReconciler(database, live, jobs, ScalingWatch(jobs, settings.cloud), crash),
            ReplicaReconciler(database, live, jobs, settings.cloud, limits),
            *_of_market(settings, database, live, cloud, limits),
            InstanceReconciler(database, live, registry, limits, settings.cloud),
            LeakAudit(database, live, limits),
            OperationReconciler(database, messages),
            AssignmentPublisher(database, live, registry, control_plane_secret(settings)),
            StartLedger(database, live, settings.starts_keep_s),
            *((Census(database),) if settings.metrics_port else ()),
        )
        # They write down what happened, which no pass has to wait for.
        self._books: Sequence[Reconciler] = (
            TokenBook(database, jobs),
            *_prices(settings, database, cloud, limits),
            ChargeBook(database, limits, settings.machine_extra_usd_per_hour),
            SpendingBook(database, limits),
        )
        self._projection = ProjectionReconciler(database, ProjectionPublisher(jobs), settings)
        self._news = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, whatever goes wrong."""
        beside = [
            asyncio.create_task(self._project_until(stop)),
            asyncio.create_task(self._meter_until(stop)),
        ]
        while not stop.is_set():
            if await self.reconcile():
                # What one noun did is news for the others.
                self._news.set()
                await asyncio.sleep(_SHORTEST_PAUSE_S)
            elif await self._rung(stop):
                self._news.set()
        self._news.set()
        await asyncio.gather(*beside)
        await self._watch.close()

    async def reconcile(self) -> int:
        """One pass over every noun; returns how many rows changed. Never raises: a reconciler that
        fails is logged, and the others go on."""
        began_s = time.monotonic()
        self._live.forget()
        world = await self._look()
        changed = sum([await self._turn(each, world) for each in self._reconcilers])
        PASS_DURATION.observe(time.monotonic() - began_s)
        return changed

    async def _turn(self, reconciler: Reconciler, world: World | None) -> int:
        told = self._live.told
        changed = await self._run(reconciler, world)
        if changed and self._live.told == told:
            self._live.forget()
        return changed

    async def project(self) -> None:
        """Tell gateways what the store says. Never raises."""
        await self._run(self._projection, None)

    async def _project_until(self, stop: asyncio.Event) -> None:
        """Beside the passes: a key is revoked in time even when a cloud keeps a pass waiting."""
        while not stop.is_set():
            self._news.clear()
            await self.project()
            await set_within(self._news, REPEAT_S)

    async def meter(self) -> int:
        """Write down what was used and what it cost; returns how many budgets changed what their
        owners may do. Never raises."""
        return [await self._run(each, None) for each in self._books][-1]

    async def _meter_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if await self.meter():
                self._news.set()
            await set_within(stop, self._meter_s)

    async def _run(self, reconciler: Reconciler, world: World | None) -> int:
        try:
            return await reconciler.run(world)
        except (RedisError, SQLAlchemyError, BrokerAway, OSError) as error:
            log.warning("not reconciled", noun=reconciler.name, error=_first_line(error))
        except Exception:
            log.exception("not reconciled", noun=reconciler.name)
        self._live.forget()  # it may have changed something before it failed
        RECONCILE_ERRORS.labels(reconciler.name).inc()
        return 0

    async def _look(self) -> World | None:
        try:
            return await self._watch.look()
        except (RedisError, SQLAlchemyError, OSError) as error:
            log.warning("agents cannot be heard", error=_first_line(error))
        except Exception:
            log.exception("agents cannot be heard")
        return None

    async def _rung(self, stop: asyncio.Event) -> bool:
        """Wait for the bell, at most one pause."""
        try:
            return await self._registry.wait_for_bell(self._pause_s)
        except RedisError:
            await set_within(stop, self._pause_s)
            return False


def _of_market(
    settings: Settings, database: Database, live: LiveRows, cloud: Cloud, limits: Limits
) -> Sequence[Reconciler]:
    """Those of a cloud that sells different machines, and that tells what it takes back."""
    found: list[Reconciler] = []
    if isinstance(cloud, NoticeSource):
        found.append(NoticeReconciler(database, cloud, settings.cloud, limits))
    if isinstance(cloud, Catalogue):
        found.append(PlacementReconciler(database, live, cloud, settings.cloud, limits))
    return found


def _prices(
    settings: Settings, database: Database, cloud: Cloud, limits: Limits
) -> Sequence[Reconciler]:
    """Of a cloud whose prices move."""
    if not isinstance(cloud, Catalogue):
        return ()
    return (PriceBook(database, cloud, settings.cloud, limits),)


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]
