"""A fleet in the store: deployments whose replicas are all ready, on instances that have joined,
and the history of those before them. Nothing in it needs to change until somebody asks for more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

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
_START_S = 60.0
_INSTANCE_TYPE = "g6.12xlarge"
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
    share = size.replicas // size.deployments
    instance_ids = [new_id(Prefix.INSTANCE) for _ in range(size.instances)]
    replicas_on: dict[str, list[str]] = {each: [] for each in instance_ids}
    async with database.snapshot() as session:
        rows = _Rows(await read_clock(session) - _AGE_S, idle_s, name)
    folder = home / "models" / name
    await asyncio.to_thread(_write_text, folder)
    deployments = [rows.deployment(number, share) for number in range(size.deployments)]
    for number in range(share * size.deployments):
        on = instance_ids[number % size.instances]
        replica_id = rows.replica(deployments[number % size.deployments], on)
        replicas_on[on].append(replica_id)
    for instance_id in instance_ids:
        rows.instance(instance_id, "joined")
    for number in range(size.ended):
        rows.history(deployments[number % size.deployments])
    async with database.transaction() as session:
        session.add(rows.model(folder))
        await session.flush()
        for table in rows.tables:
            session.add_all(table)
            await session.flush()
    return Fleet(deployments, replicas_on)


def _write_text(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "text.json").write_bytes(msgspec.json.encode(_TEXT))


class _Rows:
    """All of the same age; those that others point at before those."""

    def __init__(self, at: float, idle_s: float, name: str) -> None:
        self._at = at
        self._idle_s = idle_s
        self._name = name
        self._times = {"created_at": at, "updated_at": at}
        self._model_id = new_id(Prefix.MODEL)
        self._revisions: list[Base] = []
        self._deployments: list[Base] = []
        self._instances: list[Base] = []
        self._replicas: list[Base] = []
        self._starts: list[Base] = []
        self._decisions: list[Base] = []

    @property
    def tables(self) -> tuple[list[Base], ...]:
        return (
            self._revisions,
            self._deployments,
            self._instances,
            self._replicas,
            self._starts,
            self._decisions,
        )

    def model(self, folder: Path) -> Model:
        return Model(
            id=self._model_id,
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

    def deployment(self, number: int, replicas: int) -> Settled:
        deployment_id = new_id(Prefix.DEPLOYMENT)
        settled = Settled(deployment_id, f"rev-{self._name}-{number:015}", replicas)
        self._revisions.append(
            Revision(
                id=settled.revision_id,
                model_id=self._model_id,
                model_digest=f"digest-{self._name}",
                engine="paced",
                # One job more than there are replicas asks for one replica more.
                options={"max_running": 1, "max_context_tokens": 1024},
                created_at=self._at,
            )
        )
        scaling = {"min_replicas": replicas, "max_replicas": replicas + _SPARE}
        self._deployments.append(
            Deployment(
                id=deployment_id,
                name=f"{self._name}-{number:04}",
                spec={"scaling": {**scaling, "idle_s": self._idle_s}},
                revision_id=settled.revision_id,
                state="ready",
                target_replicas=replicas,
                **self._times,
            )
        )
        return settled

    def instance(self, instance_id: str, state: str) -> None:
        self._instances.append(
            Instance(
                id=instance_id,
                cloud="local",
                instance_type=_INSTANCE_TYPE,
                zone="us-east-1a",
                market="spot",
                usd_per_hour=1.8,
                state=state,
                assignment_version=1,
                capabilities={"devices": ["0", "1", "2", "3"]},
                joined_at=self._at,
                launched_at=self._at,
                ended_at=self._at if state == "terminated" else None,
                metered_at=self._at if state == "terminated" else None,
                **self._times,
            )
        )

    def replica(self, settled: Settled, instance_id: str, state: str = "ready") -> str:
        replica_id = new_id(Prefix.REPLICA)
        self._replicas.append(
            Replica(
                id=replica_id,
                deployment_id=settled.deployment_id,
                revision_id=settled.revision_id,
                instance_id=instance_id,
                state=state,
                ready_at=self._at,
                ended_at=None if state == "ready" else self._at,
                **self._times,
            )
        )
        self._starts.append(
            Start(
                id=new_id(Prefix.START),
                replica_id=replica_id,
                wakes=0,
                deployment_id=settled.deployment_id,
                revision_id=settled.revision_id,
                instance_id=instance_id,
                instance_type=_INSTANCE_TYPE,
                outcome="ready",
                created_at=self._at - _START_S,
                ready_at=self._at,
                closed_at=self._at,
            )
        )
        return replica_id

    def history(self, settled: Settled) -> None:
        instance_id = new_id(Prefix.INSTANCE)
        self.instance(instance_id, "terminated")
        self.replica(settled, instance_id, "terminated")
        self._decisions.append(
            Decision(
                id=new_id(Prefix.DECISION),
                deployment_id=settled.deployment_id,
                kind="scale",
                reason="at_min",
                formula="the owner's minimum",
                inputs={"pending_jobs": 0, "current_target": settled.replicas},
                outcome={"target_replicas": settled.replicas, "add": 0, "drain": 0},
                created_at=self._at,
            )
        )
