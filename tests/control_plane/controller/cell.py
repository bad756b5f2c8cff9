"""A whole small Tamer around the controller: real store, real queue, scripted agents."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis

from control_plane.controller.loop import Controller
from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.repositories import deployments, instances, listings, models, replicas
from control_plane.store.repositories.listings import Page
from control_plane.store.repositories.revisions import find_or_add
from control_plane.store.session import Database
from control_plane.store.tables import Decision, Deployment, Instance, Model, Replica
from control_plane.tasks.execution import execute
from infra.projection import ProjectionReader, text_digest
from infra.queue.queue import JobQueue, Offer
from infra.settings import Settings
from infra.states import JobState
from infra.wire import JobSpec, Sampling, TextAssets, encode
from tests.control_plane.controller.mailbox import Mailbox
from tests.control_plane.controller.memory_cloud import MemoryCloud
from tests.control_plane.controller.scripted_agent import ScriptedAgent
from tests.fixtures.waiting import eventually

TEXT = TextAssets(tokenizer_json="{}", chat_template="{{ messages }}", eos_token_ids=(2,))
_NEVER = threading.Event()


class Cell:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        jobs: Redis,
        cloud: MemoryCloud | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.jobs = jobs
        self.cloud = cloud or MemoryCloud()
        self.mailbox = Mailbox()
        self.controller = self.new_controller()
        self.projections = ProjectionReader(jobs)
        self.agents: dict[str, ScriptedAgent] = {}
        self.script: Callable[[ScriptedAgent], None] = lambda agent: None
        """Changes each new agent before it lives."""

    def new_controller(self, database: Database | None = None) -> Controller:
        """With connections of its own, or the cell's."""
        database = database or self.database
        return Controller(self.settings, database, self.jobs, self.cloud, self.mailbox)  # type: ignore[arg-type]

    async def model(self, name: str = "tiny", text: TextAssets = TEXT) -> Model:
        folder = self.settings.home / "models" / name
        folder.mkdir(parents=True)
        (folder / "text.json").write_bytes(msgspec.json.encode(text))
        async with self.database.transaction() as session:
            row = await models.add(session, name, f"pypi:{name}", await read_clock(session))
            row.state, row.digest, row.uri = models.READY, f"digest-{name}", folder.as_uri()
            row.text_digest = text_digest(text)
            row.max_context_tokens, row.vocabulary_size = 2048, 100
        return row

    async def deploy(
        self,
        model: Model,
        name: str = "chat",
        placement: Mapping[str, Any] | None = None,
        **scaling: Any,
    ) -> Deployment:
        spec: dict[str, Any] = {
            "scaling": {"min_replicas": 0, "max_replicas": 2, "idle_s": 60.0, **scaling},
            "placement": dict(placement or {}),
        }
        async with self.database.transaction() as session:
            now = await read_clock(session)
            options = {"max_context_tokens": 1024, "max_running": 2}
            deployment_id = new_id(Prefix.DEPLOYMENT)
            revision = await find_or_add(session, deployment_id, model, "paced", options, now)
            return await deployments.add(session, deployment_id, name, spec, revision, now)

    async def change(self, deployment: Deployment, **options: Any) -> None:
        """A new spec, and with `options` a new revision."""
        async with self.database.transaction() as session:
            row = await session.get_one(Deployment, deployment.id)
            row.generation += 1
            if options:
                [model] = [each async for each in await session.stream_scalars(_models())]
                now = await read_clock(session)
                revision = await find_or_add(session, row.id, model, "paced", options, now)
                row.revision_id = revision.id

    async def offer(self, deployment: Deployment, job_id: str) -> None:
        spec = JobSpec(job_id, job_id, [1, 2, 3], Sampling(max_tokens=4))
        offer = Offer(job_id, "gateway", encode(spec), 7, 3, deadline_s=60.0)
        queue = JobQueue(self.jobs, deployment.revision_id)
        await queue.attend("gateway", 60.0)
        assert await queue.offer(offer, 100) is JobState.QUEUED

    async def settle_job(self, deployment: Deployment, job_id: str) -> None:
        queue = JobQueue(self.jobs, deployment.revision_id)
        await queue.settle(job_id, "gateway", JobState.COMPLETED, "stop", 4)

    async def step(self) -> int:
        """One pass, one turn of Celery's hands, one beat of every agent."""
        changed = await self.controller.reconcile()
        while self.mailbox.operation_ids:
            await self.carry_out(self.mailbox.operation_ids.pop(0))
            changed += 1
        await self.beat()
        return changed

    async def carry_out(self, operation_id: str) -> None:
        await execute(operation_id, self.settings, _NEVER, cloud_of=lambda _: self.cloud)

    async def beat(self) -> None:
        for instance_id in self.cloud.alive():
            if instance_id not in self.agents:
                request = self.cloud.requests.get(instance_id)
                if request is None:
                    continue
                agent = ScriptedAgent(self.jobs, self.database, request)
                self.script(agent)
                self.agents[instance_id] = agent
            await self.agents[instance_id].live()

    async def until(self, look: Callable[[], Awaitable[Any]], deadline_s: float = 30.0) -> None:
        """Step until what is looked for is there."""

        async def step_and_look() -> bool:
            await self.step()
            return bool(await look())

        await eventually(step_and_look, deadline_s)

    async def until_state(self, deployment: Deployment, state: str) -> Deployment:
        async def reached() -> bool:
            return (await self.deployment(deployment)).state == state

        await self.until(reached)
        return await self.deployment(deployment)

    async def quiet(self) -> None:
        """Step until three steps in a row change nothing."""
        calm = 0
        async with asyncio.timeout(30.0):
            while calm < 3:
                calm = 0 if await self.step() else calm + 1

    async def deployment(self, deployment: Deployment) -> Deployment:
        async with self.database.snapshot() as session:
            return await session.get_one(Deployment, deployment.id)

    async def replicas(self) -> list[Replica]:
        async with self.database.snapshot() as session:
            return list(await replicas.live(session))

    async def instances(self) -> list[Instance]:
        async with self.database.snapshot() as session:
            return list(await instances.live(session))

    async def decisions(self, deployment: Deployment, kind: str = "scale") -> list[Decision]:
        """Of one kind, oldest first."""
        async with self.database.snapshot() as session:
            found = (await listings.decisions(session, deployment.id, Page(100))).rows[::-1]
        return [each for each in found if each.kind == kind]


def _models() -> Any:
    from sqlalchemy import select

    return select(Model)


def folder_of(model: Model) -> Path:
    return Path(model.uri.removeprefix("file://"))
