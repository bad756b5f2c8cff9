"""Rows to begin with."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.ids import Prefix, new_id
from control_plane.store.repositories import deployments, instances, models, operations, replicas
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.repositories.revisions import find_or_add
from control_plane.store.tables import Deployment, Instance, Model, Operation, Replica, Revision


async def add_model(session: AsyncSession, name: str = "tiny") -> Model:
    model = await models.add(session, name, f"pypi:{name}", 1.0)
    model.state, model.digest = models.READY, f"digest-{name}"
    return model


async def add_revision(
    session: AsyncSession, model: Model, deployment_id: str, **options: Any
) -> Revision:
    return await find_or_add(session, deployment_id, model, "paced", options, 1.0)


async def add_deployment(session: AsyncSession, model: Model, name: str = "chat") -> Deployment:
    deployment_id = new_id(Prefix.DEPLOYMENT)
    revision = await add_revision(session, model, deployment_id)
    spec = {"name": name, "model": model.name}
    return await deployments.add(session, deployment_id, name, spec, revision, 1.0)


async def add_replica(session: AsyncSession, deployment: Deployment | None = None) -> Replica:
    if deployment is None:
        deployment = await add_deployment(session, await add_model(session))
    return await replicas.add(session, deployment)


async def add_instance(session: AsyncSession) -> Instance:
    return await instances.add(session, "local", "process", "here", "on-demand")


async def add_operation(session: AsyncSession) -> Operation:
    kind = OperationKind.IMPORT_MODEL
    return await operations.add(session, kind, "mod-1", "import:mod-1", 60.0)
