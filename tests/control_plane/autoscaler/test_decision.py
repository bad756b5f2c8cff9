"""The autoscaler's promises, for every observation that Hypothesis can think of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.autoscaler.decision import Decision, Reason, decide, is_news
from control_plane.autoscaler.observation import Demand, Halt, Observation
from control_plane.autoscaler.policy import ScalingPolicy

POLICY = ScalingPolicy(min_replicas=0, max_replicas=4, idle_s=60.0, jobs_per_replica=8)


@st.composite
def policies(draw: st.DrawFn) -> ScalingPolicy:
    low = draw(st.integers(0, 20))
    return ScalingPolicy(
        min_replicas=low,
        max_replicas=draw(st.integers(low, 40)),
        idle_s=draw(st.floats(0, 1000)),
        jobs_per_replica=draw(st.integers(1, 64)),
    )


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    pending = draw(st.integers(0, 5000))
    return Demand(
        pending_jobs=pending,
        peak_pending_jobs=pending + draw(st.integers(0, 5000)),
        idle_s=draw(st.floats(0, allow_nan=False, allow_infinity=True)),
        age_s=draw(st.floats(0, 30)),
    )


observations = st.builds(
    Observation,
    current_target=st.integers(0, 60),
    demand=st.none() | demands(),
    halt=st.sampled_from([None, *Halt]),
)


def seen(
    pending: int, current: int, *, peak: int | None = None, idle_s: float = 0.0, age_s: float = 0.0
) -> Observation:
    demand = Demand(pending, pending if peak is None else peak, idle_s, age_s)
    return Observation(current_target=current, demand=demand)


@given(observations, policies())
def test_it_never_goes_past_the_maximum(observation: Observation, policy: ScalingPolicy) -> None:
    assert decide(observation, policy).target <= policy.max_replicas


@given(observations, policies())
def test_it_never_goes_below_the_minimum_unless_halted(
    observation: Observation, policy: ScalingPolicy
) -> None:
    floor = 0 if observation.halt else policy.min_replicas
    assert decide(observation, policy).target >= floor


@given(observations, policies())
def test_deciding_again_changes_nothing(observation: Observation, policy: ScalingPolicy) -> None:
    once = decide(observation, policy).target
    assert decide(replace(observation, current_target=once), policy).target == once


@given(st.integers(0, 60), demands(), st.integers(0, 500), st.integers(0, 500), policies())
def test_more_demand_never_means_fewer_replicas(
    current: int, demand: Demand, more: int, more_peak: int, policy: ScalingPolicy
) -> None:
    greater = replace(
        demand,
        pending_jobs=demand.pending_jobs + more,
        peak_pending_jobs=demand.peak_pending_jobs + more + more_peak,
    )
    before = decide(Observation(current, demand), policy).target
    assert decide(Observation(current, greater), policy).target >= before


@given(observations, policies())
def test_every_decision_can_be_stored_as_strict_json(
    observation: Observation, policy: ScalingPolicy
) -> None:
    decision = decide(observation, policy)
    json.dumps(decision.inputs, allow_nan=False)
    assert decision.formula


@pytest.mark.parametrize(
    ("observation", "target", "reason"),
    [
        (seen(0, 0, idle_s=float("inf")), 0, Reason.IDLE),
        (seen(1, 0), 1, Reason.FROM_ZERO),
        (seen(9, 1), 2, Reason.DEMAND),
        (seen(9, 0), 2, Reason.FROM_ZERO),
        (seen(999, 2), 4, Reason.AT_MAX),
        (seen(1, 3, peak=20), 3, Reason.LULL),
        (seen(1, 3, peak=9), 2, Reason.LULL),
        (seen(0, 3, peak=0, idle_s=59.0), 1, Reason.LULL),
        (seen(0, 3, peak=20, idle_s=60.0), 0, Reason.IDLE),
        (seen(0, 0, idle_s=1.0), 0, Reason.DEMAND),
        (seen(9, 1, age_s=11.0), 1, Reason.SIGNALS_STALE),
        (Observation(current_target=3, demand=None), 3, Reason.SIGNALS_MISSING),
        (Observation(3, None, Halt.DELETING), 0, Reason.DELETING),
        (Observation(3, None, Halt.CRASH_LOOP), 0, Reason.CRASH_LOOP),
    ],
)
def test_what_it_decides_and_the_reason_it_gives(
    observation: Observation, target: int, reason: Reason
) -> None:
    decision = decide(observation, POLICY)
    assert (decision.target, decision.reason) == (target, reason)


def test_replicas_that_still_boot_are_not_asked_for_again() -> None:
    first = decide(seen(16, 0), POLICY).target
    assert decide(seen(16, first), POLICY).target == first == 2


@pytest.mark.parametrize("idle_s", [1.0, float("inf")])
def test_a_minimum_is_kept_without_any_demand(idle_s: float) -> None:
    decision = decide(seen(0, 0, idle_s=idle_s), replace(POLICY, min_replicas=1))
    assert (decision.target, decision.reason) == (1, Reason.AT_MIN)


@pytest.mark.parametrize(("low", "high", "each"), [(-1, 1, 1), (2, 1, 1), (0, 1, 0)])
def test_limits_that_contradict_each_other_are_refused(low: int, high: int, each: int) -> None:
    with pytest.raises(ValueError):
        ScalingPolicy(low, high, 60.0, each)


@pytest.mark.parametrize(
    ("decision", "last_target", "last_reason", "age_s", "expected"),
    [
        (decide(seen(9, 1), POLICY), 1, "demand", 0.0, True),
        (decide(seen(9, 2), POLICY), 2, "demand", 99.0, False),
        (decide(seen(1, 2, peak=9), POLICY), 2, "demand", 1.0, False),
        (decide(seen(1, 2, peak=9), POLICY), 2, "demand", 99.0, False),
        (decide(seen(999, 4), POLICY), 4, "demand", 1.0, False),
        (decide(seen(999, 4), POLICY), 4, "demand", 11.0, True),
        (decide(seen(0, 0, idle_s=99.0), POLICY), 0, "signals_stale", 0.0, True),
        (decide(seen(0, 0, idle_s=99.0), POLICY), 0, "crash_loop", 0.0, True),
    ],
)
def test_a_decision_is_news_when_it_says_something_else(
    decision: Decision, last_target: int, last_reason: str, age_s: float, expected: bool
) -> None:
    assert is_news(decision, last_target, last_reason, age_s) is expected
