"""What the cloud has made of a launch, in its row: since when it costs what, and where it is."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.store.repositories import instances
from control_plane.store.tables import Instance
from infra.cloud.base import CloudInstance


async def record_launch(session: AsyncSession, instance: Instance, launched: CloudInstance) -> None:
    """Again and by another it changes nothing that matters: the first time stays."""
    await instances.launched(
        session,
        instance.id,
        launched.cloud_id,
        _where(instance, launched),
        launched.launched_at,
    )


def _where(instance: Instance, launched: CloudInstance) -> dict[str, Any]:
    """What the cloud chose among the alternatives, and its price."""
    pool = launched.pool
    if pool is None:
        return {}
    for each in instance.alternatives:
        if (each["instance_type"], each["zone"]) == (pool.instance_type, pool.zone):
            return dict(each)
    return {}
