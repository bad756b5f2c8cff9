"""What a specification would run on, what that costs and how long its first answer would take: for
those who ask before they deploy."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.deployments.fits import tokens_per_s
from control_plane.api.deployments.offers import fitting_types
from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.autoscaler.boot_time import PRIOR, boot_time
from control_plane.store.repositories import models, starts
from control_plane.store.tables import Model, Revision
from infra.instance_types import InstanceType
from infra.names import AWS_CLOUD
from infra.settings import Settings

_SHOWN = 5
_SAMPLES = 50


class MachineShown(BaseModel):
    """A machine that could carry a replica; prices are of the share that one replica takes."""

    instance_type: str
    accelerator: str
    usd_per_hour: float
    """On demand, as listed; 0: it is there already."""
    usd_per_million_tokens: float | None = None
    """Prompt and output tokens of usual requests (512 and 256), when there are as many as a replica
    serves within the SLO, by data sheets; null: too little is known."""


class ColdStartShown(BaseModel):
    p50_s: float
    p90_s: float
    starts: int
    """Measured ones; 0: believed, because nothing like it has started here yet."""


class RolloutPreview(BaseModel):
    strategy: str
    rollback_on: str
    steps: list[int]


class Preview(BaseModel):
    cloud: str
    machines: list[MachineShown]
    """The cheapest first; the plan over live prices is made when a replica is wanted."""
    usd_per_hour_at_min: float
    """Of the least replicas, on the cheapest of these, on demand."""
    usd_per_hour_at_max: float
    cold_start: ColdStartShown
    rollout: RolloutPreview | None
    """Where another revision runs now: how it would be replaced."""


async def preview(
    session: AsyncSession,
    spec: DeploymentSpec,
    revision: Revision,
    replaces: bool,
    settings: Settings,
) -> Preview:
    """Writes nothing. `replaces`: whether another revision runs now."""
    machines = await _machines(session, spec, settings)
    cheapest = machines[0].usd_per_hour if machines else 0.0
    rollout = spec.rollout
    steps = list(rollout.steps) or ([5, 25, 100] if rollout.strategy == "canary" else [100])
    return Preview(
        cloud=settings.cloud,
        machines=machines,
        usd_per_hour_at_min=round(cheapest * spec.scaling.min_replicas, 6),
        usd_per_hour_at_max=round(cheapest * spec.scaling.max_replicas, 6),
        cold_start=await _cold_start(session, revision),
        rollout=(
            RolloutPreview(strategy=rollout.strategy, rollback_on=rollout.rollback_on, steps=steps)
            if replaces
            else None
        ),
    )


async def _machines(
    session: AsyncSession, spec: DeploymentSpec, settings: Settings
) -> list[MachineShown]:
    if settings.cloud != AWS_CLOUD:
        device = str(spec.engine.options.get("device", "cpu"))
        return [MachineShown(instance_type="this machine", accelerator=device, usd_per_hour=0.0)]
    found = await fitting_types(session, spec, settings)
    model = await models.find(session, spec.model)
    return [_shown(each, spec, model) for each in found[:_SHOWN]] if model is not None else []


def _shown(kind: InstanceType, spec: DeploymentSpec, model: Model) -> MachineShown:
    usd_per_hour = kind.usd_per_hour / kind.devices
    served = tokens_per_s(kind, spec, model)
    return MachineShown(
        instance_type=kind.name,
        accelerator=kind.accelerator,
        usd_per_hour=round(usd_per_hour, 6),
        usd_per_million_tokens=round(usd_per_hour / (served * 3600) * 1e6, 4) if served else None,
    )


async def _cold_start(session: AsyncSession, revision: Revision) -> ColdStartShown:
    """From the ledger: of this revision, else of whatever else ran this model, else the prior."""
    samples = await starts.boot_samples(session, revision.id, _SAMPLES)
    seconds = [each.seconds for each in samples]
    if not seconds:
        seconds = await starts.seconds_of_model(session, revision.model_digest, _SAMPLES)
    found = boot_time(seconds) if seconds else PRIOR
    return ColdStartShown(p50_s=found.p50_s, p90_s=found.p90_s, starts=found.starts)
