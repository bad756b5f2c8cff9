"""How long the controller waits before it draws a conclusion."""

from __future__ import annotations

from dataclasses import dataclass

from infra.names import AWS_CLOUD
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    instance_lost_s: float
    join_s: float
    """From the launch to the join; 0: it follows from boots that were measured."""
    start_s: float
    """For each step of a replica from the launch of its machine until it is ready."""
    drain_s: float
    operation_s: float
    lease_s: float
    unseen_s: float = 5.0
    """What a cloud has just launched it may not describe yet."""
    describe_every_s: float = 0.0
    settling_s: float = 5.0
    """What a cloud has just been told may not show yet; what an agent was told it may still do."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        aws = settings.cloud == AWS_CLOUD
        return cls(
            instance_lost_s=settings.instance_lost_s,
            join_s=settings.aws_join_limit_s if aws else settings.join_limit_s,
            start_s=settings.start_limit_s,
            drain_s=settings.drain_limit_s,
            operation_s=settings.operation_limit_s,
            lease_s=settings.row_lease_s,
            **(
                {
                    "unseen_s": settings.aws_unseen_s,
                    "describe_every_s": settings.aws_describe_s,
                }
                if aws
                else {}
            ),
        )
