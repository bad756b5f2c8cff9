"""A fleet in the store: deployments whose replicas are all ready, on instances that have joined, and
the history of those before them. Nothing in it needs to change, until somebody asks for more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.clock import read_clock
from control_plane.store.ids import Prefix, new_id
from control_plane.store.session import Database
from control_plane.store.tables import (
    Base,
    Decision,
    Deployment,
    Instance,
    Model,
    Replica,
    Revision,
    Start,
)
from infra.projection import text_digest
from infra.wire import TextAssets

_TEXT = TextAssets(tokenizer_json="{}", chat_template="{{ messages }}", eos_token_ids=(2,))
_AGE_S = 3600.0
_BATCH = 2000
_SPARE = 8
"""Replicas that a deployment may have beyond those that it must."""


@dataclass(frozen=True, slots=True)
class Size:
    deployments: int
    replicas: int
    instances: int
    ended: int
    """Replicas that have ended, each with its instance, its start and a decision."""


@dataclass(frozen=True, slots=True)
class Settled:
    deployment_id: str
    revision_id: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Fleet:
    deployments: Sequence[Settled]
    replicas_on: dict[str, list[str]]
    """By instance."""


async def settle(
    database: Database, size: Size, home: Path, idle_s: float = 60.0, name: str = "chat"
) -> Fleet:
    """Write the rows of a fleet.

    Args:
        home: where the model's folder is made.
        idle_s: how long a deployment keeps what its last peak needed.
        name: of its model, and what names of its deployments begin with.
    """
    async with database.transaction() as session:
        writer = _Writer(session, await read_clock(session), idle_s, name)
        model_id = await writer.model(home / "models" / name)
        share = size.replicas // size.deployments
        deployments = [
            await writer.deployment(model_id, number, share) for number in range(size.deployments)
        ]
        instance_ids = [new_id(Prefix.INSTANCE) for _ in range(size.instances)]
        replicas_on: dict[str, list[str]] = {each: [] for each in instance_ids}
        for number in range(share * size.deployments):
            on = instance_ids[number % size.instances]
            replica_id = writer.replica(deployments[number % size.deployments], on)
            replicas_on[on].append(replica_id)
        for instance_id in instance_ids:
            writer.instance(instance_id, "joined")
        for number in range(size.ended):
            writer.history(deployments[number % size.deployments])
        await writer.flush()
    return Fleet(deployments, replicas_on)


class _Writer:
    """Rows wait until those that they point at are there."""

    def __init__(self, session: AsyncSession, now: float, idle_s: float, name: str) -> None:
        self._session = session
        self._now = now
        self._idle_s = idle_s
        self._name = name
        self._rows: dict[type[Base], list[dict[str, Any]]] = {
            table: [] for table in (Revision, Deployment, Instance, Replica, Start, Decision)
        }
        self._times = {"created_at": now - _AGE_S, "updated_at": now - _AGE_S}

    async def flush(self) -> None:
        for table, rows in self._rows.items():
            for first in range(0, len(rows), _BATCH):
                await self._session.execute(insert(table), rows[first : first + _BATCH])

    async def model(self, folder: Path) -> str:
        folder.mkdir(parents=True)
        (folder / "text.json").write_bytes(msgspec.json.encode(_TEXT))
        model = Model(
            id=new_id(Prefix.MODEL),
            name=self._name,
            source=f"pypi:{self._name}",
            state="ready",
            digest=f"digest-{self._name}",
            uri=folder.as_uri(),
            text_digest=text_digest(_TEXT),
            max_context_tokens=2048,
            vocabulary_size=100,
            **self._times,
        )
        self._session.add(model)
        await self._session.flush()
        return model.id

    async def deployment(self, model_id: str, number: int, replicas: int) -> Settled:
        deployment_id = new_id(Prefix.DEPLOYMENT)
        settled = Settled(deployment_id, f"rev-{self._name}-{number:015}", replicas)
        self._rows[Revision].append(
            {
                "id": settled.revision_id,
                "model_id": model_id,
                "model_digest": f"digest-{self._name}",
                "engine": "paced",
                # One job more than there are replicas asks for one replica more.
                "options": {"max_running": 1, "max_context_tokens": 1024},
                "created_at": self._now - _AGE_S,
            }
        )
        scaling = {"min_replicas": replicas, "max_replicas": replicas + _SPARE}
        self._rows[Deployment].append(
            {
                "id": deployment_id,
                "name": f"{self._name}-{number:04}",
                "spec": {"scaling": {**scaling, "idle_s": self._idle_s}},
                "revision_id": settled.revision_id,
                "state": "ready",
                "target_replicas": replicas,
                **self._times,
            }
        )
        return settled

    def instance(self, instance_id: str, state: str) -> None:
        joined_at = self._now - _AGE_S
        self._rows[Instance].append(
            {
                "id": instance_id,
                "cloud": "local",
                "instance_type": "g6.12xlarge",
                "zone": "us-east-1a",
                "market": "spot",
                "usd_per_hour": 1.8,
                "state": state,
                "assignment_version": 1,
                "capabilities": {"devices": ["0", "1", "2", "3"]},
                "joined_at": joined_at,
                "ended_at": joined_at if state == "terminated" else None,
                **self._times,
            }
        )

    def replica(self, settled: Settled, instance_id: str, state: str = "ready") -> str:
        replica_id, at = new_id(Prefix.REPLICA), self._now - _AGE_S
        self._rows[Replica].append(
            {
                "id": replica_id,
                "deployment_id": settled.deployment_id,
                "revision_id": settled.revision_id,
                "instance_id": instance_id,
                "state": state,
                "ready_at": at,
                "ended_at": None if state == "ready" else at,
                **self._times,
            }
        )
        self._rows[Start].append(
            {
                "id": new_id(Prefix.START),
                "replica_id": replica_id,
                "wakes": 0,
                "deployment_id": settled.deployment_id,
                "revision_id": settled.revision_id,
                "instance_id": instance_id,
                "instance_type": "g6.12xlarge",
                "outcome": "ready",
                "created_at": at - 60.0,
                "ready_at": at,
                "closed_at": at,
            }
        )
        return replica_id

    def history(self, settled: Settled) -> None:
        instance_id = new_id(Prefix.INSTANCE)
        self.instance(instance_id, "terminated")
        self.replica(settled, instance_id, "terminated")
        self._rows[Decision].append(
            {
                "id": new_id(Prefix.DECISION),
                "deployment_id": settled.deployment_id,
                "kind": "scale",
                "reason": "at_min",
                "formula": "max(0 pending jobs / 1 per replica, min 25)",
                "inputs": {"pending_jobs": 0, "peak_pending_jobs": 0, "current_target": 25},
                "outcome": {"target_replicas": settled.replicas, "add": 0, "drain": 0},
                "created_at": self._now - _AGE_S,
            }
        )
