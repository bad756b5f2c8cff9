"""Whether a new revision is worse than the old one (pure).

Counts are tested when 20, 40, 80 ... requests have ended and once at the end of a step, the k-th
time at ALPHA / (k (k + 1)). These sum to ALPHA, so however often it is looked at, a good revision
is condemned in no more than that share of steps (the union bound over group-sequential looks).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.rollout.counts import Counts
from control_plane.rollout.significance import binomial, fisher
from control_plane.rollout.strategy import RollbackOn, Strategy

ALPHA = 0.01
"""Of the steps of a revision that is as good as the old one, at most so many are rolled back for
each thing that is judged."""
FIRST_LOOK = 20
ALLOWED_ERRORS = 0.05
"""The error rate of the old revision where it has had fewer requests than `FIRST_LOOK`."""


class Fault(StrEnum):
    ERRORS = "errors"
    TTFT = "slo_ttft"
    TPOT = "slo_tpot"


@dataclass(frozen=True, slots=True)
class Verdict:
    looked: bool
    fault: Fault | None
    formula: str
    inputs: dict[str, Any]


def judge(
    strategy: Strategy, stable: Counts, candidate: Counts, looks: int, *, final: bool
) -> Verdict:
    """Test what is due.

    Args:
        looks: how often this step was tested before.
        final: the step is over but for this.
    """
    inputs: dict[str, Any] = {"old": stable.told(), "new": candidate.told()}
    due = final or candidate.requests >= FIRST_LOOK * 2**looks
    if strategy.rollback_on is RollbackOn.NONE or not due or not candidate.requests:
        return Verdict(False, None, "", inputs)
    level = ALPHA / ((looks + 1) * (looks + 2))
    for fault, value, formula in _tests(strategy, stable, candidate):
        if value < level:
            return Verdict(True, fault, f"{formula} < {level:.2g} (look {looks + 1})", inputs)
    return Verdict(True, None, f"no p below {level:.2g} (look {looks + 1})", inputs)


def _tests(strategy: Strategy, stable: Counts, candidate: Counts) -> list[tuple[Fault, float, str]]:
    tests = [(Fault.ERRORS, *_errors(stable, candidate))]
    if strategy.rollback_on is RollbackOn.SLO:
        allowed = 1.0 - strategy.attainment
        old, new = (stable.ttft_missed, stable.ttft), (candidate.ttft_missed, candidate.ttft)
        tests.append((Fault.TTFT, *_misses(old, new, allowed)))
        old, new = (stable.tpot_missed, stable.tpot), (candidate.tpot_missed, candidate.tpot)
        tests.append((Fault.TPOT, *_misses(old, new, allowed)))
    return tests


def _errors(stable: Counts, candidate: Counts) -> tuple[float, str]:
    said = f"{candidate.errors} of {candidate.requests} requests failed"
    if stable.requests < FIRST_LOOK:
        p = binomial(candidate.errors, candidate.requests, ALLOWED_ERRORS)
        return p, f"{said}, {ALLOWED_ERRORS:.0%} allowed: binomial p = {p:.2g}"
    p = fisher(candidate.errors, candidate.requests, stable.errors, stable.requests)
    return p, f"{said}, of the old {stable.errors} of {stable.requests}: Fisher p = {p:.2g}"


def _misses(old: tuple[int, int], new: tuple[int, int], allowed: float) -> tuple[float, str]:
    """A revision misses its SLO where it misses it too often and more often than the old one, whose
    misses under the same load would be the load's."""
    p = binomial(*new, allowed)
    formula = f"{new[0]} of {new[1]} requests over the limit, {allowed:.2%} allowed: binomial"
    if old[1] >= FIRST_LOOK:
        p = max(p, fisher(*new, *old))
        formula += f" and, of the old {old[0]} of {old[1]}, Fisher"
    return p, f"{formula} p = {p:.2g}"
