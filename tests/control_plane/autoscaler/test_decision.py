"""The autoscaler's promises, for every observation that Hypothesis can think of."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.autoscaler.boot_time import BootTime
from control_plane.autoscaler.decision import Decision, Reason, decide, is_news
from control_plane.autoscaler.observation import (
    Demand,
    Halt,
    Load,
    Observation,
    ReplicaCapacity,
    Tokens,
)
from control_plane.autoscaler.policy import Mode, ScalingPolicy

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


rates = st.builds(Tokens, st.floats(0, 1e6), st.floats(0, 1e6))
loads = st.builds(
    Load,
    arriving=rates,
    jobs=st.integers(0, 5000),
    sudden=rates,
    sudden_jobs=st.integers(0, 1000),
    waiting=rates,
    foreseen=st.none() | rates,
)
demands = st.builds(
    Demand,
    pending_jobs=st.integers(0, 5000),
    idle_s=st.floats(0, allow_nan=False, allow_infinity=True),
    age_s=st.floats(0, 30),
    load=st.none() | loads,
)
capacities = st.builds(
    ReplicaCapacity,
    sequences=st.integers(1, 64),
    prefill_tokens_per_s=st.floats(1, 1e6),
    decode_tokens_per_s=st.floats(1, 1e6),
    source=st.just("model"),
)
observations = st.builds(
    Observation,
    current_target=st.integers(0, 60),
    demand=st.none() | demands,
    halt=st.sampled_from([None, *Halt]),
    budget=st.sampled_from(["", "spent"]),
    ready=st.integers(0, 60),
    capacity=st.none() | capacities,
    kept=st.integers(0, 60),
    ordered=st.none() | st.integers(0, 60),
)


def seen(
    pending: int, current: int, *, kept: int = 0, idle_s: float = 0.0, age_s: float = 0.0
) -> Observation:
    return Observation(current, Demand(pending, idle_s, age_s), kept=kept)


ONE = ReplicaCapacity(32, 1000.0, 100.0, "model")
"""Rates below are in hundredths of what it decodes."""


def loaded(
    current: int,
    arriving: float,
    *,
    jobs: int = 10**6,
    ready: int | None = None,
    sudden: float = 0.0,
    waiting: float = 0.0,
    foreseen: float | None = None,
    kept: int = 0,
) -> Observation:
    """In replicas; `waiting` in seconds of one replica's work."""
    load = Load(
        arriving=Tokens(0.0, arriving * 100),
        jobs=jobs,
        sudden=Tokens(0.0, sudden * 100),
        sudden_jobs=jobs,
        waiting=Tokens(0.0, waiting * 100),
        foreseen=None if foreseen is None else Tokens(0.0, foreseen * 100),
        forecaster="holt_winters",
    )
    return Observation(
        current,
        Demand(1, 0.0, 0.0, load),
        boot=BootTime(50.0, 100.0, 9),
        ready=current if ready is None else ready,
        capacity=ONE,
        kept=kept,
    )


@given(observations, policies())
def test_it_never_goes_past_the_maximum(observation: Observation, policy: ScalingPolicy) -> None:
    assert decide(observation, policy).target <= policy.max_replicas


@given(observations, policies())
def test_it_never_goes_below_the_minimum_unless_halted(
    observation: Observation, policy: ScalingPolicy
) -> None:
    held = observation.halt or observation.budget or observation.ordered is not None
    assert decide(observation, policy).target >= (0 if held else policy.min_replicas)


@given(observations, policies())
def test_a_spent_budget_never_lets_the_number_rise(
    observation: Observation, policy: ScalingPolicy
) -> None:
    spent = replace(observation, budget="spent")
    assert decide(spent, policy).target <= observation.current_target


@given(observations, policies())
def test_deciding_again_changes_nothing(observation: Observation, policy: ScalingPolicy) -> None:
    once = decide(observation, policy)
    kept = max(observation.kept, once.keeps)
    again = replace(observation, current_target=once.target, kept=kept)
    assert decide(again, policy).target == once.target


@given(observations, st.integers(0, 500), st.floats(1, 9), st.integers(0, 500), policies())
def test_more_demand_never_means_fewer_replicas(
    observation: Observation, more: int, times: float, more_kept: int, policy: ScalingPolicy
) -> None:
    if observation.demand is None:
        return
    greater = replace(
        observation,
        demand=replace(
            observation.demand,
            pending_jobs=observation.demand.pending_jobs + more,
            load=_times(observation.demand.load, times),
        ),
        kept=observation.kept + more_kept,
    )
    assert decide(greater, policy).target >= decide(observation, policy).target


def _times(load: Load | None, factor: float) -> Load | None:
    """Other work of the same sizes."""
    if load is None:
        return None

    def grown(rate: Tokens) -> Tokens:
        return Tokens(rate.prefill * factor, rate.decode * factor)

    return replace(
        load,
        arriving=grown(load.arriving),
        jobs=math.ceil(load.jobs * factor),
        sudden=grown(load.sudden),
        sudden_jobs=math.ceil(load.sudden_jobs * factor),
        waiting=grown(load.waiting),
        foreseen=None if load.foreseen is None else grown(load.foreseen),
    )


@given(st.integers(0, 40), loads, st.floats(0, 1), st.integers(0, 39), capacities, policies())
def test_nothing_is_added_while_what_boots_covers_what_arrives(
    current: int,
    load: Load,
    share: float,
    ready: int,
    capacity: ReplicaCapacity,
    policy: ScalingPolicy,
) -> None:
    """However much has piled up meanwhile."""
    most = current * share
    arriving = Tokens(most * capacity.prefill_tokens_per_s, most * capacity.decode_tokens_per_s)
    quiet = replace(load, arriving=arriving, sudden=arriving, foreseen=None)
    observation = Observation(
        current,
        Demand(1, 0.0, 0.0, quiet),
        ready=min(ready, current - 1),
        capacity=capacity,
    )
    if ready < current:
        limit = max(current, policy.floor, 1)
        assert decide(observation, policy).target <= limit


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
        (seen(1, 3, kept=3), 3, Reason.LULL),
        (seen(1, 3, kept=2), 2, Reason.LULL),
        (seen(0, 3, idle_s=59.0), 1, Reason.LULL),
        (seen(0, 3, kept=3, idle_s=60.0), 0, Reason.IDLE),
        (seen(0, 0, idle_s=1.0), 0, Reason.DEMAND),
        (seen(9, 1, age_s=11.0), 1, Reason.SIGNALS_STALE),
        (Observation(1, Demand(9, 0.0, 0.5, heard=False)), 1, Reason.SIGNALS_STALE),
        (seen(9, 1, age_s=math.nan), 1, Reason.SIGNALS_MISSING),
        (loaded(2, math.nan), 2, Reason.SIGNALS_MISSING),
        (loaded(2, 3.5), 4, Reason.DEMAND),
        (loaded(1, 0.9, foreseen=2.5), 3, Reason.DEMAND),
        (loaded(1, 1.4, jobs=9), 1, Reason.DEMAND),
        (loaded(1, 0.5, sudden=1.9), 1, Reason.DEMAND),
        (loaded(1, 0.5, sudden=3.1), 4, Reason.DEMAND),
        (loaded(0, 0.1, sudden=0.1), 1, Reason.FROM_ZERO),
        (loaded(2, 1.5, waiting=199.0), 3, Reason.DEMAND),
        (loaded(2, 1.5, waiting=90.0), 2, Reason.DEMAND),
        (loaded(2, 1.5, ready=1, waiting=9999.0), 2, Reason.DEMAND),
        (loaded(4, 1.5), 2, Reason.DEMAND),
        (loaded(4, 1.95), 3, Reason.LULL),
        (loaded(4, 1.5, kept=4), 4, Reason.LULL),
        (loaded(2, 99.0), 4, Reason.AT_MAX),
        (replace(seen(1, 3), ordered=1), 1, Reason.ORDERED),
        (replace(seen(99, 3), ordered=9), 4, Reason.ORDERED),
        (replace(seen(99, 3), ordered=4, budget="spent"), 3, Reason.BUDGET),
        (replace(seen(1, 3), ordered=2, halt=Halt.DELETING), 0, Reason.DELETING),
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


@pytest.mark.parametrize(
    ("observation", "target", "reason"),
    [
        (seen(0, 0, idle_s=99.0), 2, Reason.SCHEDULED),
        (seen(1, 0), 2, Reason.SCHEDULED),
        (seen(25, 0), 4, Reason.FROM_ZERO),
    ],
)
def test_the_schedule_is_a_minimum_for_a_while(
    observation: Observation, target: int, reason: Reason
) -> None:
    decision = decide(observation, replace(POLICY, scheduled=2))
    assert (decision.target, decision.reason) == (target, reason)


def test_a_schedule_never_goes_past_the_maximum() -> None:
    assert decide(seen(0, 0, idle_s=99.0), replace(POLICY, scheduled=9)).target == 4


ADVISED = replace(POLICY, mode=Mode.ADVISE, min_replicas=1)


def test_advice_is_given_and_not_followed() -> None:
    decision = decide(seen(25, 2), ADVISED)
    assert (decision.target, decision.reason, decision.advised) == (2, Reason.ADVICE, 4)
    assert "4 would be right" in decision.formula


def test_advice_that_agrees_is_a_plain_decision() -> None:
    assert decide(seen(9, 2), ADVISED).reason is Reason.DEMAND


def test_a_schedule_is_advice_too_where_the_owner_wants_only_that() -> None:
    """What it raised would never fall again."""
    decision = decide(seen(0, 1, idle_s=99.0), replace(ADVISED, min_replicas=0, scheduled=3))
    assert (decision.target, decision.reason, decision.advised) == (1, Reason.ADVICE, 3)


def test_before_arrivals_were_watched_what_runs_stays() -> None:
    """A controller that starts in the middle of a burst knows what waits, and not what comes."""
    for pending, current, expected in [(640, 2, 2), (640, 0, 1), (1, 3, 3), (0, 3, 3)]:
        observation = Observation(current, Demand(pending, 0.0, 0.0), capacity=ONE, kept=current)
        assert decide(observation, POLICY).target == expected


def test_other_advice_is_news_once_in_a_while() -> None:
    decision = decide(seen(25, 2), ADVISED)
    assert is_news(decision, 2, "demand", 0.0)
    assert not is_news(decision, 2, "advice", 99.0, last_advised=4)
    assert not is_news(decision, 2, "advice", 1.0, last_advised=3)
    assert is_news(decision, 2, "advice", 11.0, last_advised=3)


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
        (decide(seen(1, 2, kept=2), POLICY), 2, "demand", 1.0, False),
        (decide(seen(1, 2, kept=2), POLICY), 2, "demand", 99.0, False),
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
