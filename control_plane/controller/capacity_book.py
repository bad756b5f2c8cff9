"""What one controller knows of the capacity of replicas: models' sizes, and steps that it was told
of. It begins with the roofline of an accelerator; of a device that no data sheet describes, steps
alone speak, once there are enough."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from control_plane.autoscaler.capacity import mean_of, replica_capacity
from control_plane.autoscaler.observation import ReplicaCapacity
from control_plane.controller.deployment_rows import DeploymentRows
from control_plane.controller.devices import devices_of
from control_plane.controller.step_book import StepBook
from control_plane.store.tables import Instance
from infra.performance.capacity import RequestMix, Slo, SloUnreachable
from infra.performance.correction import Correction
from infra.performance.hardware import HOST, Accelerator, accelerator
from infra.performance.memory import DoesNotFit
from infra.performance.serving import Serving, slo_of
from infra.wire import Heartbeat

_ENOUGH = 30
"""Steps, to believe them."""
_REST_S = 15.0
"""A capacity is computed anew as often: it is no faster than what it is learned from."""
_NOTHING = "no replica has measured steps yet, and no data sheet describes what it runs on"


@dataclass(frozen=True, slots=True)
class _Said:
    at_s: float
    about: tuple[object, ...]
    capacity: ReplicaCapacity | None
    why: str


class CapacityBook:
    """Of one process: another one learns for itself, and so does this one after a restart."""

    def __init__(self, cloud: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._clock = clock
        self._steps = StepBook()
        self._said: dict[str, _Said] = {}

    def learn(
        self,
        heartbeats: Mapping[str, Heartbeat],
        found: Collection[DeploymentRows],
        instances: Mapping[str, Instance],
    ) -> None:
        """Take the steps of heartbeats that were not heard before, and forget what is gone."""
        self._steps.learn(heartbeats, found, instances)
        wanted = {rows.revision.id for rows in found}
        self._said = {key: each for key, each in self._said.items() if key in wanted}

    def capacity(
        self,
        rows: DeploymentRows,
        instances: Mapping[str, Instance],
        mix: RequestMix,
        kv_tokens: int,
    ) -> tuple[ReplicaCapacity | None, str]:
        """Of one replica, in the mean over what they run on as far as that meets the SLO; or None,
        and why it is not known although there is one.

        Args:
            kv_tokens: what replicas say that their cache holds; 0: none speaks yet.
        """
        slo = slo_of(rows.deployment.spec)
        if slo is None:
            return None, ""
        serving = rows.serving
        if serving is None:
            return None, "the model was imported before its size was kept: pack it again"
        current = [each for each in rows.live if each.revision_id == rows.revision.id]
        spec = rows.deployment.spec
        devices = devices_of(current, instances, spec, serving, slo, self._cloud)
        corrections = {each.name: self._steps.correction(rows, each) for each in devices}
        known = tuple(sorted((name, _measured(each)) for name, each in corrections.items()))
        about = (slo, tuple(sorted(each.name for each in devices)), known, kv_tokens)
        said, now_s = self._said.get(rows.revision.id), self._clock()
        if said is None or said.about != about or now_s - said.at_s >= _REST_S:
            found, why = _compute(corrections, serving, devices, slo, mix, kv_tokens)
            said = self._said[rows.revision.id] = _Said(now_s, about, found, why)
        return said.capacity, said.why


def _measured(correction: Correction | None) -> bool:
    return correction is not None and correction.observations >= _ENOUGH


def _compute(
    corrections: Mapping[str, Correction | None],
    serving: Serving,
    devices: Sequence[Accelerator],
    slo: Slo,
    mix: RequestMix,
    kv_tokens: int,
) -> tuple[ReplicaCapacity | None, str]:
    found: list[ReplicaCapacity] = []
    refusal = _NOTHING
    for name, count in Counter(each.name for each in devices).items():
        device = HOST if name == HOST.name else accelerator(name)
        correction = corrections[name]
        measured = _measured(correction)
        if device is HOST and not (measured and kv_tokens):
            continue
        time_on = correction.time if correction is not None else serving.time_on(device)
        try:
            room = kv_tokens or serving.kv_tokens_on(device)
            one = replica_capacity(
                time_on,
                mix,
                slo,
                room,
                serving.max_running,
                "measured" if measured else "model",
            )
        except (DoesNotFit, SloUnreachable) as error:
            refusal = f"on {name}: {error}"
        else:
            found += [one] * count
    return (mean_of(found), "") if found else (None, refusal)
