"""How long the controller waits before it draws a conclusion."""

from __future__ import annotations

from dataclasses import dataclass

from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    instance_lost_s: float
    join_s: float
    """From the launch to the join."""
    start_s: float
    """From the request of a replica until it is ready."""
    drain_s: float
    operation_s: float
    lease_s: float
    settling_s: float = 5.0
    """What a cloud has just been told may not show yet; what an agent was told it may still do."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            instance_lost_s=settings.instance_lost_s,
            join_s=settings.join_limit_s,
            start_s=settings.start_limit_s,
            drain_s=settings.drain_limit_s,
            operation_s=settings.operation_limit_s,
            lease_s=settings.row_lease_s,
        )
