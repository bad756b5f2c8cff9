"""A rollout's next step (pure): one transition function for where a rollout stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from control_plane.rollout.counts import Counts
from control_plane.rollout.split import candidates
from control_plane.rollout.stage import Stage
from control_plane.rollout.strategy import ALL, Kind, RollbackOn, Strategy
from control_plane.rollout.verdict import Fault, Verdict, judge
from infra.states import RolloutState


class Reason(StrEnum):
    SHIFTED = "traffic_shifted"
    """What the step needs is ready: its share of the traffic goes to the new revision."""
    PASSED = "step_passed"
    LOOKED = "looked"
    """Tested, and not found worse; nothing changes."""
    FINISHED = "finished"
    PROMOTED = "promoted"
    NOTHING_RUNS = "nothing_runs"
    """The deployment is at zero: there is nothing to take over from."""
    ASLEEP = "asleep"
    """The deployment is at zero: the step is watched on when it is not."""
    CANNOT_START = "cannot_start"
    NOT_READY = "not_ready"
    """Its replicas have not come in time; no start failed."""
    ERRORS = Fault.ERRORS.value
    SLO_TTFT = Fault.TTFT.value
    SLO_TPOT = Fault.TPOT.value


@dataclass(frozen=True, slots=True)
class RolloutSeen:
    stage_s: float
    """Since the present phase began, by the database's clock."""
    target: int
    ready: int
    """Replicas of the new revision."""
    failed_starts: int
    """Of the new revision, in a row, where these are too many; else 0."""
    last_failure: str = ""
    waiting_s: float = 0.0
    """Since the oldest replica of the new revision that was never ready was asked for. At zero
    there is none, so this does not grow."""
    waits_for: str = ""
    """As that replica says it."""
    stable: Counts | None = None
    """Of the old revision during this step; None where gateways cannot be heard."""
    candidate: Counts | None = None


@dataclass(frozen=True, slots=True)
class Move:
    stage: Stage
    reason: Reason
    formula: str
    inputs: dict[str, Any]


def next_step(strategy: Strategy, stage: Stage, seen: RolloutSeen) -> Move | None:
    """None where it must wait. Asking again after a move makes no second one of the same facts."""
    inputs: dict[str, Any] = {
        "target_replicas": seen.target,
        "ready": seen.ready,
        "stage_s": round(seen.stage_s, 3),
    }
    if seen.failed_starts:
        said = f"{seen.failed_starts} starts in a row failed, the last: {seen.last_failure}"
        back = replace(stage, state=RolloutState.ROLLED_BACK, percent=0)
        return Move(back, Reason.CANNOT_START, said, inputs)
    if seen.target == 0:
        return _at_zero(strategy, stage, seen, inputs)
    if stage.state is RolloutState.PREPARING:
        needed = candidates(strategy, stage, seen.target)
        if seen.ready < needed and seen.waiting_s > strategy.ready_limit_s:
            return _late(strategy, stage, seen, needed, inputs)
    over = stage.state is RolloutState.WATCHING and _is_over(strategy, stage, seen)
    verdict = _verdict(strategy, stage, seen, final=over)
    if verdict is None:
        return None
    if verdict.fault is not None:
        back = replace(stage, state=RolloutState.ROLLED_BACK, percent=0)
        return Move(back, Reason(verdict.fault), verdict.formula, {**inputs, **verdict.inputs})
    inputs |= verdict.inputs
    if stage.state is RolloutState.PREPARING:
        move = _prepared(strategy, stage, seen, inputs)
    else:
        move = _passed(strategy, stage, seen, verdict, inputs) if over else None
    if move is None and verdict.looked:
        return Move(replace(stage, looks=stage.looks + 1), Reason.LOOKED, verdict.formula, inputs)
    return move


def _late(
    strategy: Strategy, stage: Stage, seen: RolloutSeen, needed: int, inputs: dict[str, Any]
) -> Move:
    """Whoever judges it, nobody will have anything to judge."""
    said = (
        f"waited {seen.waiting_s:.0f} s for its replicas ({seen.ready} of {needed} ready), the "
        f"limit is {strategy.ready_limit_s:g} s"
    )
    if seen.waits_for:
        said += f": {seen.waits_for}"
    back = replace(stage, state=RolloutState.ROLLED_BACK, percent=0)
    return Move(back, Reason.NOT_READY, said, {**inputs, "waiting_s": round(seen.waiting_s, 3)})


def _at_zero(
    strategy: Strategy, stage: Stage, seen: RolloutSeen, inputs: dict[str, Any]
) -> Move | None:
    """What was watched and counted until now stays: a deployment that is asked in short bursts
    would never come to the end of a step."""
    if strategy.kind is Kind.REPLACE or stage.promoted:
        done = replace(stage, state=RolloutState.FINISHED, percent=ALL)
        return Move(done, Reason.NOTHING_RUNS, "no replica runs: the new revision is next", inputs)
    if stage.state is RolloutState.PREPARING:
        return None
    watched_s = stage.watched_s + seen.stage_s
    asleep = replace(stage, state=RolloutState.PREPARING, watched_s=watched_s)
    return Move(asleep, Reason.ASLEEP, "no replica runs: the step waits", inputs)


def _verdict(strategy: Strategy, stage: Stage, seen: RolloutSeen, *, final: bool) -> Verdict | None:
    """None where gateways must be heard and are not: then nothing moves."""
    if strategy.rollback_on is RollbackOn.NONE or stage.promoted:
        return Verdict(False, None, "", {})
    if seen.stable is None or seen.candidate is None:
        return None
    return judge(strategy, seen.stable, seen.candidate, stage.looks, final=final)


def _prepared(
    strategy: Strategy, stage: Stage, seen: RolloutSeen, inputs: dict[str, Any]
) -> Move | None:
    needed = candidates(strategy, stage, seen.target)
    if seen.ready < needed:
        return None
    formula = f"new replicas ready: {seen.ready}, needed: {needed}"
    if stage.promoted:
        done = replace(stage, state=RolloutState.FINISHED, percent=ALL)
        return Move(done, Reason.PROMOTED, formula, inputs)
    if strategy.kind is Kind.REPLACE and not strategy.step_s:
        done = replace(stage, state=RolloutState.FINISHED, percent=ALL)
        return Move(done, Reason.FINISHED, formula, inputs)
    percent = strategy.percent_of(stage.step)
    # The tests of a step go on with its counts; those of the traffic before it do not.
    looks = stage.looks if stage.watched_s else 0
    watching = replace(stage, state=RolloutState.WATCHING, percent=percent, looks=looks)
    return Move(watching, Reason.SHIFTED, f"{percent} % of the traffic; {formula}", inputs)


def _is_over(strategy: Strategy, stage: Stage, seen: RolloutSeen) -> bool:
    asked, wanted = seen.candidate, strategy.step_requests
    enough = asked is not None and wanted is not None and asked.requests >= wanted
    return stage.promoted or enough or stage.watched_s + seen.stage_s >= strategy.step_s


def _passed(
    strategy: Strategy,
    stage: Stage,
    seen: RolloutSeen,
    verdict: Verdict,
    inputs: dict[str, Any],
) -> Move:
    formula = f"watched {stage.watched_s + seen.stage_s:.0f} s of {strategy.step_s:g} s"
    if strategy.step_requests is not None and seen.candidate is not None:
        formula += f", {seen.candidate.requests} of {strategy.step_requests} requests"
    if verdict.looked:
        formula += f"; {verdict.formula}"
    elif seen.candidate is not None and not seen.candidate.requests and not stage.promoted:
        formula += "; nobody asked the new revision"
    if stage.promoted and not strategy.is_last(stage.step):
        # Its owner wants it all, which needs replicas first.
        return Move(replace(stage, state=RolloutState.PREPARING), Reason.PROMOTED, formula, inputs)
    if stage.promoted or strategy.is_last(stage.step):
        done = replace(stage, state=RolloutState.FINISHED, percent=ALL)
        reason = Reason.PROMOTED if stage.promoted else Reason.FINISHED
        return Move(done, reason, formula, inputs)
    step = stage.step + 1
    following = replace(stage, state=RolloutState.PREPARING, step=step, looks=0, watched_s=0.0)
    return Move(following, Reason.PASSED, formula, inputs)
