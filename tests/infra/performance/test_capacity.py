from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.performance.capacity import RequestMix, Slo, SloUnreachable, capacity
from infra.performance.hardware import accelerator
from infra.performance.model_facts import ModelFacts
from infra.performance.step_time import StepTime, roofline

_CHAT = RequestMix(prompt_tokens=500, output_tokens=250)
_SLO = Slo(ttft_s=0.5, tpot_s=0.05)
_TIME = StepTime(0.006, 1e-5, 4e-8, 0.005, 1.3e-5, 1e-9)


def test_the_batch_grows_until_the_next_would_break_the_slo(llama_8b: ModelFacts) -> None:
    time = roofline(llama_8b, accelerator("L40S"))
    found = capacity(time, _CHAT, _SLO, kv_tokens=10**9, max_running=10_000)
    assert found.limited_by == "tpot"
    assert found.step_s <= _SLO.tpot_s
    assert found.ttft_s <= _SLO.ttft_s


def test_memory_limits_it_where_the_slo_does_not() -> None:
    found = capacity(_TIME, _CHAT, _SLO, kv_tokens=7 * 625)
    assert (found.sequences, found.limited_by) == (7, "kv")


def test_its_owner_limits_it() -> None:
    found = capacity(_TIME, _CHAT, _SLO, kv_tokens=10**9, max_running=3)
    assert (found.sequences, found.limited_by) == (3, "max_running")


def test_an_slo_that_nothing_meets_is_refused_with_the_numbers() -> None:
    with pytest.raises(SloUnreachable, match=r"every 6.06 ms \(SLO 6\)"):
        capacity(_TIME, _CHAT, replace(_SLO, tpot_s=0.006), kv_tokens=10**6)
    with pytest.raises(SloUnreachable, match=r"after 11.8 ms \(no SLO\)"):
        capacity(_TIME, _CHAT, Slo(ttft_s=math.inf, tpot_s=0.006), kv_tokens=10**6)


def test_a_request_larger_than_the_cache_is_refused() -> None:
    with pytest.raises(SloUnreachable, match="holds 625 tokens of KV cache, a replica has 600"):
        capacity(_TIME, _CHAT, _SLO, kv_tokens=600)


def test_a_prefix_that_is_cached_is_no_work() -> None:
    cached = RequestMix(prompt_tokens=100, output_tokens=250, cached_tokens=400)
    more = capacity(_TIME, cached, _SLO, kv_tokens=10**6)
    assert more.requests_per_s > capacity(_TIME, _CHAT, _SLO, kv_tokens=10**6).requests_per_s


@settings(deadline=None)
@given(
    prompt=st.floats(1, 8000),
    output=st.floats(1, 2000),
    tpot_s=st.floats(0.01, 1.0),
    looser=st.floats(1.0, 4.0),
)
def test_a_looser_slo_never_lowers_capacity(
    prompt: float, output: float, tpot_s: float, looser: float
) -> None:
    mix = RequestMix(prompt, output)
    try:
        tight = capacity(_TIME, mix, Slo(2.0, tpot_s), kv_tokens=10**6)
    except SloUnreachable:
        return
    loose = capacity(_TIME, mix, Slo(2.0 * looser, tpot_s * looser), kv_tokens=10**6)
    assert loose.sequences >= tight.sequences
