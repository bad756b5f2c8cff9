"""What DescribeInstances tells, as `CloudInstance`s: one for each of our ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.cloud.aws.access import AwsAccess
from infra.cloud.aws.tags import INSTANCE_TAG, OWNER_TAG, tags_as_dict, with_tag
from infra.cloud.base import CloudInstance, CloudInstanceState, CloudPool, Market

_PAGE = 1000
_STATES = {
    "pending": CloudInstanceState.PENDING,
    "running": CloudInstanceState.RUNNING,
    "shutting-down": CloudInstanceState.STOPPING,
    "stopping": CloudInstanceState.STOPPING,
    "stopped": CloudInstanceState.STOPPING,
    "terminated": CloudInstanceState.TERMINATED,
}
_TAKEN = (
    "Server.SpotInstanceTermination",
    "Server.SpotInstanceShutdown",
    "Server.InsufficientInstanceCapacity",
)
"""State reasons of EC2's own; an instance that fails by itself has others."""
_ALIVE = (CloudInstanceState.PENDING, CloudInstanceState.RUNNING)
_CHANGED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
"""In "Service initiated (2016-04-18 21:15:09 GMT)"."""


def described(access: AwsAccess, owner: str, instance_id: str = "") -> list[CloudInstance]:
    """All that carry our owner's tag, of one of our ids or of all; oldest first. Raises Refusal."""
    filters = [with_tag(OWNER_TAG, owner)]
    if instance_id:
        filters.append(with_tag(INSTANCE_TAG, instance_id))
    reservations = access.pages(
        "ec2", "describe_instances", "Reservations", Filters=filters, MaxResults=_PAGE
    )
    found = [_instance(each) for group in reservations for each in group.get("Instances", [])]
    return sorted(found, key=lambda each: (each.launched_at, each.cloud_id))


def one_each(
    found: Iterable[CloudInstance],
) -> tuple[Sequence[CloudInstance], Sequence[CloudInstance]]:
    """(one instance for each of our ids, what lives beside it under the same id).

    The oldest that lives stands for its id, else the newest that has ended: everybody who looks
    chooses alike. What carries no id of ours stands for itself.
    """
    chosen: dict[str, CloudInstance] = {}
    nameless, surplus = [], []
    for each in found:
        before = chosen.get(each.instance_id)
        if not each.instance_id:
            nameless.append(each)
        elif before is None or before.state not in _ALIVE:
            chosen[each.instance_id] = each
        elif each.state in _ALIVE:
            surplus.append(each)
    return [*chosen.values(), *nameless], surplus


def _instance(told: dict[str, Any]) -> CloudInstance:
    tags = tags_as_dict(told.get("Tags", []))
    # A state that EC2 invents later is one in which it does not serve.
    state = _STATES.get(told["State"]["Name"], CloudInstanceState.STOPPING)
    reason = _reason(told) if state not in _ALIVE else ""
    spot = told.get("InstanceLifecycle") == "spot"
    return CloudInstance(
        instance_id=tags.get(INSTANCE_TAG, ""),
        cloud_id=told["InstanceId"],
        state=state,
        reason=reason,
        pool=CloudPool(
            told.get("InstanceType", ""),
            told.get("Placement", {}).get("AvailabilityZone", ""),
            Market.SPOT if spot else Market.ON_DEMAND,
        ),
        launched_at=told["LaunchTime"].timestamp() if "LaunchTime" in told else 0.0,
        taken=state not in _ALIVE and _is_taken(told, reason),
        ended_at=_changed_at(told) if state is CloudInstanceState.TERMINATED else 0.0,
    )


def _is_taken(told: dict[str, Any], reason: str) -> bool:
    code: str = told.get("StateReason", {}).get("Code", "")
    return code.startswith(_TAKEN) or reason.startswith(_TAKEN)


def _changed_at(told: dict[str, Any]) -> float:
    """EC2 tells it in a sentence, and not always."""
    found = _CHANGED_AT.search(told.get("StateTransitionReason", ""))
    if found is None:
        return 0.0
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def _reason(told: dict[str, Any]) -> str:
    said = told.get("StateReason", {})
    return (
        said.get("Message")
        or said.get("Code")
        or told.get("StateTransitionReason")
        or "terminated; EC2 says no reason"
    )
