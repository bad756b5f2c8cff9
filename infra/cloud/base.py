"""What a cloud is: launch, describe and terminate instances, idempotently, by our own ids."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class Market(StrEnum):
    ON_DEMAND = "on-demand"
    SPOT = "spot"


class LaunchRequest(msgspec.Struct, frozen=True):
    instance_id: str
    """Ours; it is the client token (launching it twice is launching it once) and a tag."""
    instance_type: str
    zone: str
    market: Market
    user_data: dict[str, str]
    """Environment of the agent: where to join, with which one-time token."""


class CloudInstanceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    TERMINATED = "terminated"


class CloudInstance(msgspec.Struct, frozen=True):
    instance_id: str
    """Our id, from the tag; empty for a machine that carries our ownership tag but no id."""
    cloud_id: str
    state: CloudInstanceState
    reason: str = ""
    noticed: bool = False
    """The cloud has announced that it will take this machine away."""


class CloudError(Exception):
    """The cloud refused or could not be reached; `retryable` tells which."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class Cloud(Protocol):
    async def launch(self, request: LaunchRequest) -> CloudInstance:
        """Start an instance; the same `instance_id` again returns the first one."""

    async def describe(self) -> Sequence[CloudInstance]:
        """Every instance that carries our ownership tag, recently terminated ones included."""

    async def terminate(self, instance_id: str) -> None:
        """Stop an instance and its bill; unknown or stopped ids are fine."""

    async def close(self) -> None: ...
