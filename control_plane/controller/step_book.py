"""Steps that replicas measured, as one controller hears them: how far data sheets are off, for each
deployment and each device that it runs on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from control_plane.controller.deployment_rows import DeploymentRows
from control_plane.controller.devices import device_of
from control_plane.store.tables import Instance
from infra.performance.correction import Correction
from infra.performance.hardware import Accelerator
from infra.performance.serving import Serving
from infra.wire import Heartbeat, StepSample

_MOST = 20
"""Steps of a pass, for each deployment and device: what counts are the last 200 or so, and those of
a hundred replicas would cost a pass its time."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Told:
    """By replicas of one deployment on one device."""

    rows: DeploymentRows
    serving: Serving
    device: Accelerator
    steps: list[StepSample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Learned:
    revision_id: str
    correction: Correction


class StepBook:
    def __init__(self) -> None:
        self._learned: dict[tuple[str, str], _Learned] = {}
        """By deployment and device."""
        self._heard: dict[str, int] = {}

    def learn(
        self,
        heartbeats: Mapping[str, Heartbeat],
        found: Collection[DeploymentRows],
        instances: Mapping[str, Instance],
    ) -> None:
        """Take steps of heartbeats that were not heard before, and forget what is gone."""
        for each in self._told(self._news(heartbeats), found, instances):
            correction = self.correction(each.rows, each.device) or self._begin(each)
            _teach(correction, spread(each.steps, _MOST))
        ids = {rows.deployment.id for rows in found}
        self._learned = {key: each for key, each in self._learned.items() if key[0] in ids}

    def correction(self, rows: DeploymentRows, device: Accelerator) -> Correction | None:
        """None where nothing was measured. A new revision begins with what was learned of the one
        before: what is wrong with a data sheet is more the device's than the model's."""
        key = rows.deployment.id, device.name
        learned = self._learned.get(key)
        if learned is None or rows.serving is None:
            return None
        if learned.revision_id != rows.revision.id:
            correction = learned.correction.over(rows.serving.time_on(device))
            learned = self._learned[key] = _Learned(rows.revision.id, correction)
        return learned.correction

    def _begin(self, told: _Told) -> Correction:
        correction = Correction(told.serving.time_on(told.device))
        key = told.rows.deployment.id, told.device.name
        self._learned[key] = _Learned(told.rows.revision.id, correction)
        return correction

    def _news(self, heartbeats: Mapping[str, Heartbeat]) -> Iterator[Heartbeat]:
        before = self._heard
        self._heard = {key: each.sequence for key, each in heartbeats.items()}
        for key, each in heartbeats.items():
            if before.get(key) != each.sequence:
                yield each

    def _told(
        self,
        news: Iterable[Heartbeat],
        found: Collection[DeploymentRows],
        instances: Mapping[str, Instance],
    ) -> Collection[_Told]:
        of_replica = {id: rows for rows in found for id in _current(rows)}
        told: dict[tuple[str, str], _Told] = {}
        for heartbeat in news:
            for report in heartbeat.replicas:
                rows = of_replica.get(report.replica_id)
                if report.steps and rows is not None and rows.serving is not None:
                    device = device_of(instances.get(heartbeat.instance_id))
                    key = rows.deployment.id, device.name
                    told.setdefault(key, _Told(rows, rows.serving, device)).steps.extend(
                        report.steps
                    )
        return told.values()


def _current(rows: DeploymentRows) -> list[str]:
    """Replicas of the wanted revision, whose steps are its model's."""
    wanted = rows.revision.id
    pairs = zip(rows.live_ids, rows.live, strict=True)
    return [id for id, each in pairs if each.revision_id == wanted]


def spread(steps: Sequence[T], most: int) -> Sequence[T]:
    """Some of all of them, evenly."""
    if len(steps) <= most:
        return steps
    return [steps[place * len(steps) // most] for place in range(most)]


def _teach(correction: Correction, steps: Sequence[StepSample]) -> None:
    for step in steps:
        if step.chunk_tokens == 0:
            correction.see_decode(step.sequences, step.context_tokens, step.seconds)
        elif step.sequences == 0:
            correction.see_prefill(step.chunk_tokens, step.before_tokens, step.seconds)
