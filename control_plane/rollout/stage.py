"""Where a rollout stands (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from infra.states import RolloutState


@dataclass(frozen=True, slots=True)
class Stage:
    state: RolloutState = RolloutState.PREPARING
    step: int = 0
    percent: int = 0
    """Of the traffic, to the new revision; `replace` goes by ready replicas instead."""
    looks: int = 0
    """How often the counts of this step were tested."""
    promoted: bool = False
    """Its owner wants the rest done without watching."""
    watched_s: float = 0.0
    """Of this step, before the deployment fell asleep in it."""
