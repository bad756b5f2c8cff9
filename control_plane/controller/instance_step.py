"""A step of an instance's life, and why it was decided (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from infra.states import InstanceState


class Cause(StrEnum):
    """The reason code of a decision."""

    LAUNCH = "launch"
    LAUNCH_WAITS = "launch_waits"
    LAUNCH_REFUSED = "launch_refused"
    NOT_NEEDED = "not_needed"
    EMPTY = "empty"
    NEVER_JOINED = "never_joined"
    UNKNOWN_TO_CLOUD = "unknown_to_cloud"
    ENDED_BY_CLOUD = "ended_by_cloud"
    SILENT = "silent"
    AGENT_LEFT = "agent_left"
    NOTICED = "noticed"


_FORMULAS: Mapping[Cause, str] = {
    Cause.LAUNCH: "a replica waits for it",
    Cause.LAUNCH_WAITS: "the cloud cannot be asked now; the launch is tried again",
    Cause.LAUNCH_REFUSED: "the cloud refused the launch",
    Cause.NOT_NEEDED: "no replica waits for it any more",
    Cause.EMPTY: "replicas on it = 0 and no deployment keeps it warm",
    Cause.NEVER_JOINED: "waited_s > limit_s",
    Cause.UNKNOWN_TO_CLOUD: "no heartbeat, and the cloud does not show it after unseen_s > limit_s",
    Cause.ENDED_BY_CLOUD: "the cloud says that the machine has ended",
    Cause.SILENT: "silent_s > limit_s",
    Cause.AGENT_LEFT: "its agent says that it leaves",
    Cause.NOTICED: "the cloud has announced that it takes it away",
}


@dataclass(frozen=True, slots=True)
class InstanceStep:
    to: InstanceState
    reason: str
    cause: Cause | None = None
    """None: nothing was decided; what was decided before is carried out."""
    inputs: Mapping[str, float] = field(default_factory=dict)
    place_again: bool = False
    """Who waits for the machine waits for another one: that it is gone is no failed start."""

    @property
    def formula(self) -> str:
        """Empty where nothing was decided."""
        return _FORMULAS[self.cause] if self.cause is not None else ""
