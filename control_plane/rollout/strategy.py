"""What the owner of a deployment wants of a rollout (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ALL = 100
"""Percent of the traffic."""


class Kind(StrEnum):
    REPLACE = "replace"
    """New capacity first; old replicas drain as new ones are ready, and traffic follows."""
    BLUE_GREEN = "blue_green"
    """The whole new capacity beside the old, then all traffic at once."""
    CANARY = "canary"
    """A growing share of the traffic, watched at each step."""


class RollbackOn(StrEnum):
    """What is judged besides whether the new revision starts at all."""

    NONE = "none"
    ERRORS = "errors"
    SLO = "slo"
    """Errors too."""


@dataclass(frozen=True, slots=True)
class Strategy:
    kind: Kind = Kind.REPLACE
    steps: tuple[int, ...] = (ALL,)
    """Percent of the traffic at each step, rising, the last one all of it."""
    step_s: float = 0.0
    """How long a step is watched."""
    step_requests: int | None = None
    """So many requests to the new revision end a step before its time."""
    max_surge: int = 1
    """Replicas above the target while one replaces the other (`replace`)."""
    max_unavailable: int = 0
    """Replicas below the target that may be missing meanwhile (`replace`)."""
    ready_limit_s: float = 3600.0
    """How long a step may wait for its replicas: scarce machines come late, but some never do."""
    rollback_on: RollbackOn = RollbackOn.NONE
    attainment: float = 0.99
    """The share of requests that must meet each SLO."""

    def percent_of(self, step: int) -> int:
        """Steps may have become fewer since a rollout began."""
        return self.steps[min(step, len(self.steps) - 1)]

    def is_last(self, step: int) -> bool:
        return step >= len(self.steps) - 1
