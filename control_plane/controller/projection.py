"""The projection: all that gateways know, published whole, at once when it changes and about every
second when it does not (a gateway that hears nothing for too long refuses requests)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.autoscaler.boot_time import PRIOR
from control_plane.controller.boot_memory import BootMemory
from control_plane.controller.boot_times import next_boot_time
from control_plane.controller.routes import (
    Served,
    Share,
    by_deployment,
    key_entry,
    route,
    serves_elsewhere,
    weights,
)
from control_plane.controller.spent_budgets import read_spent
from control_plane.controller.world import World
from control_plane.importer.errors import ImportRefused
from control_plane.importer.text_assets import TEXT_FILE, decode_text_assets
from control_plane.store.clock import read_clock
from control_plane.store.repositories import (
    deployments,
    keys,
    models,
    replicas,
    revisions,
    rollouts,
)
from control_plane.store.repositories.listings import Deployed
from control_plane.store.repositories.replicas import Standing
from control_plane.store.repositories.starts import BootSample
from control_plane.store.session import Database
from control_plane.store.tables import Model, Revision
from infra.projection import ProjectionPublisher
from infra.settings import Settings
from infra.states import ReplicaState
from infra.storage.base import StorageError
from infra.storage.opening import read_file
from infra.telemetry import logger
from infra.wire import KeyEntry, Projection

REPEAT_S = 1.0

log = logger(__name__)


class ProjectionReconciler:
    """Needs no lease: every controller publishes what the store says, numbered by its clock."""

    name = "projection"

    def __init__(
        self, database: Database, publisher: ProjectionPublisher, settings: Settings
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._settings = settings
        self._last = Projection(version=0)
        self._last_at_s = float("-inf")
        self._texts: set[str] = set()
        self._boots = BootMemory()

    async def run(self, _world: World | None, /) -> int:
        """Raises RedisError: gateways could not be told."""
        async with self._database.snapshot() as session:
            now = await read_clock(session)
            found = await self._served(session, now)
            spent = await read_spent(session, now, (each.deployment for each in found))
            served = [replace(each, **spent.of_deployment(each.deployment)) for each in found]
            entries = [
                key_entry(key, **spent.of_tenant(key.tenant)) for key in await keys.valid(session)
            ]
        missing = await self._publish_texts(share.model for each in served for share in each.shares)
        await self._publish(int(now * 1000), served, entries, missing)
        return 0

    async def _served(self, session: AsyncSession, now: float) -> list[Served]:
        standing = by_deployment(await replicas.standing(session))
        live = await deployments.all_live(session)
        open_ = await rollouts.all_open(session)
        rows = [(each, open_.get(each.id), standing.get(each.id, [])) for each, _ in live]
        tries = await rollouts.tries(session, [row[0].id for row in rows if serves_elsewhere(*row)])
        shares = {row[0].id: weights(*row, tries.get(row[0].id)) for row in rows}
        ready = {id: _ready(standing.get(id, ()), weight) for id, weight in shares.items()}
        samples = await self._boot_samples(session, shares, ready, now)
        runs = await _revisions(session, live, {id for each in shares.values() for id in each})
        registered = await models.by_id(session, {each.model_id for each in runs.values()})
        served = []
        for deployment, _ in live:
            own = shares[deployment.id]
            boot = PRIOR
            if not ready[deployment.id]:
                there = standing.get(deployment.id, ())
                asleep = any(each.state == ReplicaState.SLEEPING for each in there)
                boot = next_boot_time(samples.get(next(iter(own)), ()), asleep)
            parts = [
                Share(runs[id], registered[runs[id].model_id], weight) for id, weight in own.items()
            ]
            served.append(Served(deployment, parts, ready[deployment.id], boot))
        return served

    async def _boot_samples(
        self,
        session: AsyncSession,
        shares: Mapping[str, Mapping[str, int]],
        ready: Mapping[str, int],
        now: float,
    ) -> Mapping[str, Sequence[BootSample]]:
        """Of the revisions that must start first."""
        cold = {next(iter(own)) for id, own in shares.items() if not ready[id]}
        self._boots.keep_only(cold)
        return await self._boots.of(session, cold, now)

    async def _publish(
        self, version: int, served: list[Served], entries: list[KeyEntry], missing: dict[str, str]
    ) -> None:
        routes = [route(each, missing) for each in served]
        changed = (routes, entries) != (self._last.routes, self._last.keys)
        now_s = time.monotonic()
        if not changed and now_s - self._last_at_s < REPEAT_S:
            return
        projection = Projection(
            version=max(version, self._last.version + 1), routes=routes, keys=entries
        )
        await self._publisher.publish(projection)
        self._last, self._last_at_s = projection, now_s
        if changed:
            log.info("projection", version=projection.version, routes=len(routes))

    async def _publish_texts(self, models: Iterable[Model]) -> dict[str, str]:
        """Publish what is not there yet; returns the digests that cannot be, each with why."""
        wanted = {model.text_digest: model for model in models}
        missing: dict[str, str] = {}
        for digest, model in wanted.items():
            if not await self._publisher.has_text(digest):
                problem = await self._publish_text(model)
                if problem:
                    missing[digest] = problem
        for digest in self._texts - wanted.keys():
            await self._publisher.drop_text(digest)
        self._texts = set(wanted)
        return missing

    async def _publish_text(self, model: Model) -> str:
        try:
            body = await asyncio.to_thread(read_file, model.uri, TEXT_FILE, self._settings)
            assets = decode_text_assets(body, f"{model.uri}/{TEXT_FILE}")
        except (ImportRefused, StorageError, OSError) as error:
            log.error("the text side of a model cannot be read", model=model.name, error=str(error))
            return f"model '{model.name}': {error}"
        digest = await self._publisher.publish_text(assets)
        if digest != model.text_digest:
            await self._publisher.drop_text(digest)
            return f"model '{model.name}' is damaged: its text file has changed; import it again"
        return ""


async def _revisions(
    session: AsyncSession, live: Iterable[Deployed], serving: Iterable[str]
) -> dict[str, Revision]:
    """Those that serve: mostly those that are wanted, which are known."""
    wanted = {each.revision.id: each.revision for each in live}
    return wanted | await revisions.by_id(session, set(serving) - wanted.keys())


def _ready(standing: Iterable[Standing], serving: Collection[str]) -> int:
    return sum(
        each.replicas
        for each in standing
        if each.state == ReplicaState.READY and each.revision_id in serving
    )
