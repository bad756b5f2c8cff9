"""What a specification would run on, what that costs and how long its first answer would take: for
those who ask before they deploy."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

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
_CLEARLY = 0.9
"""Times the price, or less."""
_SAMPLES = 50


class MachineShown(BaseModel):
    """A machine that could carry a replica; prices are of the share that one replica takes."""

    instance_type: str
    accelerator: str
    usd_per_hour: float
    """On demand, as listed; 0: it is there already."""
    devices: int = 1
    """So many replicas share the machine, and its price."""
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
    """The cheapest for its least replicas first; the plan over live prices is made when a replica
    is wanted."""
    cheapest_when_busy: MachineShown | None
    """Where a million tokens cost clearly less than on the cheapest machine: a dearer one that
    serves more requests at once. It is chosen where the specification allows nothing else."""
    usd_per_hour_at_min: float
    """Of the least replicas, on whole machines of the cheapest kind, on demand."""
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
    kinds: Sequence[InstanceType] = ()
    fitting = [_here(spec)]
    if settings.cloud == AWS_CLOUD:
        kinds = await fitting_types(session, spec, settings)
        model = await models.find(session, spec.model)
        first = sorted(kinds, key=lambda kind: _usd(kind, max(1, spec.scaling.min_replicas)))
        fitting = [_shown(each, spec, model) for each in first] if model else []
    machines = fitting[:_SHOWN]
    rollout = spec.rollout
    steps = list(rollout.steps) or ([5, 25, 100] if rollout.strategy == "canary" else [100])
    return Preview(
        cloud=settings.cloud,
        machines=machines,
        cheapest_when_busy=_cheapest_when_busy(fitting),
        usd_per_hour_at_min=_least_usd(kinds, spec.scaling.min_replicas),
        usd_per_hour_at_max=_least_usd(kinds, spec.scaling.max_replicas),
        cold_start=await _cold_start(session, revision),
        rollout=(
            RolloutPreview(strategy=rollout.strategy, rollback_on=rollout.rollback_on, steps=steps)
            if replaces
            else None
        ),
    )


def _here(spec: DeploymentSpec) -> MachineShown:
    device = str(spec.engine.options.get("device", "cpu"))
    return MachineShown(instance_type="this machine", accelerator=device, usd_per_hour=0.0)


def _usd(kind: InstanceType, replicas: int) -> float:
    """An hour of whole machines: a device that nobody uses is paid for, too."""
    return kind.usd_per_hour * ceil(replicas / kind.devices)


def _least_usd(kinds: Sequence[InstanceType], replicas: int) -> float:
    return round(min((_usd(each, replicas) for each in kinds), default=0.0), 6)


def _cheapest_when_busy(machines: Sequence[MachineShown]) -> MachineShown | None:
    """Of these, the cheapest first."""
    known = [(usd, each) for each in machines if (usd := each.usd_per_million_tokens) is not None]
    if not known:
        return None
    least_usd, best = min(known, key=lambda pair: pair[0])
    return best if least_usd < _CLEARLY * known[0][0] else None


def _shown(kind: InstanceType, spec: DeploymentSpec, model: Model) -> MachineShown:
    usd_per_hour = kind.usd_per_hour / kind.devices
    served = tokens_per_s(kind, spec, model)
    return MachineShown(
        instance_type=kind.name,
        accelerator=kind.accelerator,
        usd_per_hour=round(usd_per_hour, 6),
        devices=kind.devices,
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
