"""What replicas run on, as far as it decides how fast they are (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from control_plane.controller.placement_spec import placement_policy
from control_plane.store.tables import Instance, Replica
from infra.instance_types import InstanceType, aws_instance_types
from infra.names import AWS_CLOUD
from infra.performance.capacity import Slo, SloUnreachable
from infra.performance.hardware import HOST, Accelerator, accelerator
from infra.performance.memory import DoesNotFit
from infra.performance.serving import Serving


def device_of(instance: Instance | None) -> Accelerator:
    """What a replica on this instance runs on; the host where nothing better is known."""
    if instance is None or instance.cloud != AWS_CLOUD:
        return HOST
    kind = aws_instance_types("").get(instance.instance_type)
    return HOST if kind is None else accelerator(kind.accelerator)


def devices_of(
    replicas: Iterable[Replica],
    instances: Mapping[str, Instance],
    spec: Mapping[str, Any],
    serving: Serving,
    slo: Slo,
    cloud: str,
) -> Sequence[Accelerator]:
    """Of the replicas that have a place; else of the first one that would get one."""
    found = [
        device_of(instances.get(each.instance_id))
        for each in replicas
        if each.instance_id is not None
    ]
    return found or [_expected(spec, serving, slo) if cloud == AWS_CLOUD else HOST]


def _expected(spec: Mapping[str, Any], serving: Serving, slo: Slo) -> Accelerator:
    """Of the cheapest machines that are allowed and do; the host where none does."""
    policy = placement_policy(dict(spec))
    for kind in sorted(aws_instance_types("").values(), key=_slot_usd):
        device = accelerator(kind.accelerator)
        named = not policy.instance_types or kind.name in policy.instance_types
        allowed = not policy.accelerators or device.name in policy.accelerators
        if named and allowed and _does(serving, device, slo):
            return device
    return HOST


def _does(serving: Serving, device: Accelerator, slo: Slo) -> bool:
    try:
        serving.capacity_on(device, slo)
    except (DoesNotFit, SloUnreachable):
        return False
    return True


def _slot_usd(kind: InstanceType) -> float:
    return kind.usd_per_hour / kind.devices
