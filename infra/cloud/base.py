"""What a cloud is: launch, describe and terminate instances, idempotently, by our own ids."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec


class Market(StrEnum):
    ON_DEMAND = "on-demand"
    SPOT = "spot"


class CloudPool(msgspec.Struct, frozen=True, order=True):
    """Machines that come and go together."""

    instance_type: str
    zone: str
    market: Market


class CloudOffer(msgspec.Struct, frozen=True):
    """What may be launched now."""

    pool: CloudPool
    region: str
    accelerator: str
    """As `infra.performance.hardware` names it; empty: the processor."""
    devices: int
    """Device slots: what replicas run on, each on its own."""
    vcpus: int
    memory_bytes: int
    usd_per_hour: float
    quota_family: str = ""
    """What the provider counts virtual CPUs by, within a region and a market."""
    score: int = 0
    """How likely the provider thinks capacity is, 1 to 10; 0 where it does not say."""


class LaunchRequest(msgspec.Struct, frozen=True):
    instance_id: str
    """Ours; it is the client token (launching it twice is launching it once) and a tag."""
    instance_type: str
    zone: str
    market: Market
    user_data: dict[str, str]
    """Environment of the agent: where to join, with which one-time token."""
    alternatives: tuple[CloudPool, ...] = ()
    """Other pools that would do as well, of the same market; a cloud that can choose, chooses."""


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
    pool: CloudPool | None = None
    """Where it runs, in a cloud that has pools."""
    launched_at: float = 0.0
    """By the cloud's clock, seconds since the epoch; 0 where it does not tell."""
    taken: bool = False
    """It has ended because the cloud wanted it back, or had no room for it after all."""
    ended_at: float = 0.0
    """The same of its end: no second after it is billed."""


class NoticeKind(StrEnum):
    INTERRUPTION = "interruption"
    """It will be taken away, on EC2 two minutes from `at`."""
    REBALANCE = "rebalance"
    """It is likelier than before to be taken away."""


class Notice(msgspec.Struct, frozen=True):
    """What a cloud announces of one machine."""

    kind: NoticeKind
    cloud_id: str
    at: float
    """By the cloud's clock, seconds since the epoch."""
    receipt: str
    """With which it is acknowledged."""


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


@runtime_checkable
class NoticeSource(Protocol):
    """A cloud that announces what it takes away; a notice comes again until it is acknowledged."""

    async def notices(self) -> Sequence[Notice]:
        """What is waiting now, possibly nothing, possibly what came before. Raises CloudError."""

    async def acknowledge(self, notices: Sequence[Notice]) -> None:
        """They have been acted upon: they need not come again. Raises CloudError."""


@runtime_checkable
class Catalogue(Protocol):
    """A cloud that sells different machines, in several places, at prices that move."""

    async def offers(self) -> Sequence[CloudOffer]:
        """Every pool that could be asked for a machine now. Raises CloudError."""
