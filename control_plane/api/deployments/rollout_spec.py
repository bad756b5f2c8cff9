"""The rollout part of a specification: how a new revision takes over from the old one."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from control_plane.api.strict import StrictBody

_LONGEST_S = 7 * 86_400
_ONLY_OF = {
    "steps": "canary",
    "step_s": "canary",
    "step_requests": "canary",
    "hold_s": "blue_green",
    "max_surge": "replace",
    "max_unavailable": "replace",
}
"""The strategy that a field belongs to."""

Seconds = Annotated[float, Field(ge=0, le=_LONGEST_S)]


class RolloutSpec(StrictBody):
    strategy: Literal["replace", "blue_green", "canary"] = "replace"
    steps: list[Annotated[int, Field(ge=1, le=100)]] = []
    """Percent of the traffic at each step of a canary, rising; empty: 5, 25, 100."""
    step_s: Seconds | None = None
    """How long a step of a canary is watched; null: 300."""
    step_requests: Annotated[int, Field(ge=1)] | None = None
    """So many requests to the new revision end a step before its time; null: time alone does."""
    hold_s: Seconds | None = None
    """How long the old revision of blue_green stays after all traffic has left it; null: 300."""
    max_surge: Annotated[int, Field(ge=0, le=64)] = 1
    """Replicas above the target while one revision replaces the other."""
    max_unavailable: Annotated[int, Field(ge=0, le=64)] = 0
    """Replicas below the target that may be missing meanwhile."""
    ready_limit_s: Annotated[float, Field(gt=0, le=_LONGEST_S)] | None = None
    """How long a step may wait for replicas of the new revision until it is taken back; null:
    3600. Time at zero does not count."""
    rollback_on: Literal["none", "errors", "slo"] = "none"
    """What takes the old revision back; slo: errors too. One that does not start always does."""

    @field_validator("steps")
    @classmethod
    def _rise(cls, steps: list[int]) -> list[int]:
        if any(low >= high for low, high in pairwise(steps)):
            raise PydanticCustomError(
                "steps",
                "must rise from one step to the next, and these do not: {steps}",
                {"steps": str(steps)},
            )
        return steps

    @model_validator(mode="after")
    def _can_move(self) -> RolloutSpec:
        if self.max_surge == self.max_unavailable == 0:
            raise PydanticCustomError(
                "stuck",
                "max_surge and max_unavailable are both 0, so nothing could ever be replaced: say "
                "max_surge: 1",
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _belongs(cls, said: Any) -> Any:
        """A field that another strategy would read has no effect, and is not ignored in silence."""
        if not isinstance(said, dict):
            return said
        strategy = said.get("strategy", "replace")
        for field, owner in _ONLY_OF.items():
            default = cls.model_fields[field].default
            if owner != strategy and said.get(field, default) != default:
                raise PydanticCustomError(
                    "no_effect",
                    "has no effect with strategy {strategy}: say strategy: {owner}, or leave "
                    "it out",
                    {"field": field, "strategy": str(strategy), "owner": owner},
                )
        return said
