"""How many replicas of each revision there are during a rollout (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from control_plane.rollout.stage import Stage
from control_plane.rollout.strategy import ALL, Kind, Strategy
from infra.states import RolloutState


@dataclass(frozen=True, slots=True)
class Split:
    stable: int
    """Replicas of the revision that is left."""
    candidate: int
    """Replicas of the revision that comes."""


@dataclass(frozen=True, slots=True)
class Running:
    """Replicas that serve or are on their way, and how many of them are ready."""

    stable: int
    stable_ready: int
    candidate_ready: int


def split(strategy: Strategy, stage: Stage, target: int, running: Running) -> Split:
    """For a deployment whose two revisions together need `target` replicas.

    Capacity comes before it goes: a share that grows is there before the other one shrinks. What
    is about to be left is not started again for itself, except for the share of a canary's traffic
    that it still has.
    """
    if target == 0:
        return Split(0, 0)
    if strategy.kind is Kind.REPLACE:
        return _rolling(strategy, stage, target, running)
    candidate = candidates(strategy, stage, target)
    if strategy.kind is Kind.BLUE_GREEN or stage.percent == ALL:
        kept = target if strategy.kind is Kind.BLUE_GREEN else 1
        shifted = stage.percent == ALL
        return Split(min(running.stable, kept) if shifted else target, candidate)
    return Split(_share(target, ALL - stage.percent), candidate)


def candidates(strategy: Strategy, stage: Stage, target: int) -> int:
    """Replicas of the new revision that a step needs before traffic comes."""
    if target == 0:
        return 0
    if strategy.kind is Kind.CANARY and not stage.promoted:
        return _share(target, strategy.percent_of(stage.step))
    return target


def _rolling(strategy: Strategy, stage: Stage, target: int, running: Running) -> Split:
    """As Kubernetes does it: at least `target - max_unavailable` ready, at most `target +
    max_surge` there."""
    if stage.state is RolloutState.WATCHING:
        return Split(0, target)
    needed = max(0, target - strategy.max_unavailable - running.candidate_ready)
    # An old one that is lost meanwhile is replaced by a new one.
    stable = min(running.stable, needed)
    return Split(stable, max(1, min(target, target + strategy.max_surge - stable)))


def _share(target: int, percent: int) -> int:
    return max(1, math.ceil(target * percent / ALL))
