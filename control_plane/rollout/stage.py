"""Where a rollout stands (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    PREPARING = "preparing"
    """The replicas of a step are on their way; traffic is as before."""
    WATCHING = "watching"
    """Traffic is as the step wants it, and is judged."""
    FINISHED = "finished"
    ROLLED_BACK = "rolled_back"
    """The old revision runs again, because of what was measured."""
    ABORTED = "aborted"
    """The old revision runs again, because its owner said so."""
    SUPERSEDED = "superseded"
    """Another revision was deployed meanwhile."""


OPEN = (Phase.PREPARING, Phase.WATCHING)
GAVE_UP = (Phase.ROLLED_BACK, Phase.ABORTED)
"""The new revision is tried again only when its owner asks for that."""


@dataclass(frozen=True, slots=True)
class Stage:
    phase: Phase = Phase.PREPARING
    step: int = 0
    percent: int = 0
    """Of the traffic, to the new revision; `replace` goes by ready replicas instead."""
    looks: int = 0
    """How often the counts of this step were tested."""
    promoted: bool = False
    """Its owner wants the rest done without watching."""
