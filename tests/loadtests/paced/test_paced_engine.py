"""The paced engine keeps its declared rate, its batch and its arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.wire import FinishReason, JobSpec, Sampling, TokenEvent
from loadtests.paced.context_hash import DEFAULT_VOCABULARY, expected_tokens
from loadtests.paced.engine import PacedEngine, PacedFailure
from loadtests.paced.logprobs import declared, declared_logprob
from loadtests.paced.options import PacedOptions, read_options
from worker.engine.base import EngineError


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        assert duration_s > 0
        self.now_s += duration_s


def job(
    job_id: str, prompt: list[int], max_tokens: int, delivered: list[int] | None = None
) -> JobSpec:
    return JobSpec(job_id, "request", prompt, Sampling(max_tokens), delivered=delivered or [])


def paced(clock: Clock, **options: object) -> PacedEngine:
    return PacedEngine(read_options(dict(options)), clock, clock.sleep)


def run_dry(engine: PacedEngine) -> dict[str, list[TokenEvent]]:
    by_job: dict[str, list[TokenEvent]] = {}
    while events := engine.step():
        for event in events:
            by_job.setdefault(event.job_id, []).append(event)
    return by_job


def tokens(events: list[TokenEvent]) -> list[int]:
    return [token for event in events for token in event.tokens]


token_ids = st.integers(min_value=0, max_value=200_000)


@given(st.lists(token_ids), st.integers(2, 40), st.data())
def test_resuming_after_any_delivered_token_gives_the_undisturbed_output(
    prompt: list[int], count: int, data: st.DataObject
) -> None:
    undisturbed = expected_tokens(prompt, count)
    cut = data.draw(st.integers(0, count - 1))
    engine = paced(Clock())
    assert engine.submit(job("a", prompt, count, undisturbed[:cut]), attempt=2) is None
    events = run_dry(engine)["a"]
    assert events[0].index == cut
    assert undisturbed[:cut] + tokens(events) == undisturbed


@given(st.lists(token_ids), st.integers(3, 30), st.data())
def test_a_lost_a_repeated_and_a_swapped_token_each_change_what_follows(
    prompt: list[int], cut: int, data: st.DataObject
) -> None:
    output = expected_tokens(prompt, cut + 20)
    at = data.draw(st.integers(1, cut - 1))
    head, following = output[:cut], output[cut:]
    lost = head[:at] + head[at + 1 :]
    repeated = [*head[:at], head[at], *head[at:]]
    swapped = [*head[: at - 1], head[at], head[at - 1], *head[at + 1 :]]
    for spoiled in (lost, repeated, swapped):
        if spoiled != head:
            assert expected_tokens([*prompt, *spoiled], 20) != following


def test_tokens_stay_in_the_declared_vocabulary_and_are_all_used() -> None:
    few = range(7, 11)
    assert set(expected_tokens([1, 2, 3], 200, few)) == set(few)
    assert set(expected_tokens([1], 500)) <= set(DEFAULT_VOCABULARY)


def test_one_sequence_runs_at_the_declared_rate() -> None:
    clock = Clock()
    engine = paced(clock, tokens_per_s=20.0, prefill_tokens_per_s=100.0)
    engine.submit(job("a", [1] * 50, 40), attempt=1)
    events = run_dry(engine)["a"]
    assert len(tokens(events)) == 40
    assert clock.now_s == pytest.approx(50 / 100 + 40 / 20)


def test_a_full_batch_costs_no_more_time_than_one_sequence() -> None:
    clock = Clock()
    engine = paced(clock, tokens_per_s=20.0, max_running=4, prefill_tokens_per_s=1e9)
    for name in "abcd":
        engine.submit(job(name, [ord(name)], 40), attempt=1)
    assert engine.stats().waiting == 4
    by_job = run_dry(engine)
    assert clock.now_s == pytest.approx(40 / 20, rel=1e-3)
    for name in "abcd":
        assert tokens(by_job[name]) == expected_tokens([ord(name)], 40)


def test_a_finished_sequence_makes_room_for_the_next_at_once() -> None:
    engine = paced(Clock(), max_running=2)
    for name, limit in (("a", 1), ("b", 3), ("c", 3)):
        engine.submit(job(name, [5], limit), attempt=1)
    assert [event.job_id for event in engine.step()] == ["a", "b"]
    assert [event.job_id for event in engine.step()] == ["b", "c"]
    assert engine.stats().running == 2


def test_a_head_that_does_not_fit_into_the_cache_holds_its_place() -> None:
    engine = paced(Clock(), kv_tokens_total=20, max_running=8)
    engine.submit(job("a", [1] * 5, 10), attempt=1)
    engine.submit(job("b", [1] * 5, 10), attempt=1)
    engine.submit(job("c", [1], 1), attempt=1)
    assert [event.job_id for event in engine.step()] == ["a"]
    assert (engine.stats().running, engine.stats().waiting) == (1, 2)
    order = list(run_dry(engine))
    assert order.index("b") <= order.index("c")


def test_several_tokens_a_step_keep_the_rate_and_the_tokens() -> None:
    clock = Clock()
    engine = paced(clock, tokens_per_s=100.0, step_s=0.05, prefill_tokens_per_s=1e9)
    engine.submit(job("a", [9], 12), attempt=1)
    events = run_dry(engine)["a"]
    assert [len(event.tokens) for event in events] == [5, 5, 2]
    assert [event.index for event in events] == [0, 5, 10]
    assert [event.finish for event in events] == [None, None, FinishReason.LENGTH]
    assert tokens(events) == expected_tokens([9], 12)
    assert clock.now_s == pytest.approx(0.15, rel=1e-3)


def test_time_lost_to_a_busy_machine_is_made_up_for_but_idle_time_is_not() -> None:
    clock = Clock()
    engine = paced(clock, tokens_per_s=10.0, prefill_tokens_per_s=1e9)
    engine.submit(job("a", [1], 100), attempt=1)
    engine.step()
    clock.now_s += 0.05
    engine.step()
    assert clock.now_s == pytest.approx(0.2, rel=1e-3)
    clock.now_s += 60.0
    engine.step()
    engine.step()
    assert clock.now_s == pytest.approx(60.2 + 0.1, rel=1e-3)


def test_a_cancelled_sequence_gives_no_further_token() -> None:
    engine = paced(Clock())
    for name in "ab":
        engine.submit(job(name, [1], 10), attempt=1)
    engine.step()
    engine.cancel("a")
    engine.cancel("unknown")
    assert {event.job_id for event in engine.step()} == {"b"}
    engine.cancel("b")
    assert engine.step() == []
    assert engine.stats().running == 0


def test_a_simulated_end_comes_where_the_judge_expects_it() -> None:
    engine = paced(Clock(), eos_every=10)
    lengths = set()
    for first in range(8):
        engine.submit(job("a", [first], 1000), attempt=1)
        events = run_dry(engine)["a"]
        assert events[-1].finish is FinishReason.STOP
        assert tokens(events) == expected_tokens([first], 1000, eos_every=10)
        lengths.add(len(tokens(events)))
    assert len(lengths) > 3


def test_a_stop_token_ends_the_sequence_and_is_not_part_of_it() -> None:
    undisturbed = expected_tokens([3], 10)
    sampling = Sampling(10, stop_token_ids=(undisturbed[4],))
    engine = paced(Clock())
    engine.submit(JobSpec("a", "request", [3], sampling), attempt=1)
    events = run_dry(engine)["a"]
    assert tokens(events) == undisturbed[: undisturbed.index(undisturbed[4])]
    assert events[-1].finish is FinishReason.STOP


def test_a_prompt_beyond_the_context_is_refused_with_the_reason() -> None:
    engine = paced(Clock(), max_context_tokens=8)
    refusal = engine.submit(job("a", [1] * 8, 4), attempt=3)
    assert refusal is not None
    assert (refusal.attempt, refusal.finish) == (3, FinishReason.ERROR)
    assert "8 tokens" in refusal.error
    assert engine.submit(job("b", [1] * 6, 4), attempt=1) is None
    assert len(tokens(run_dry(engine)["b"])) == 2


def test_a_job_that_has_everything_already_ends_at_once() -> None:
    refusal = paced(Clock()).submit(job("a", [1], 2, [5, 6]), attempt=2)
    assert refusal == TokenEvent("a", 2, 2, [], FinishReason.LENGTH)


def test_an_engine_told_to_fail_fails() -> None:
    engine = paced(Clock(), fail_after_tokens=3)
    engine.submit(job("a", [1], 10), attempt=1)
    with pytest.raises(PacedFailure, match="3 tokens"):
        run_dry(engine)


def test_loading_takes_the_declared_time() -> None:
    clock = Clock()
    paced(clock, load_s=2.0).load()
    assert clock.now_s == pytest.approx(2.0)


def test_a_long_prefill_is_announced() -> None:
    engine = paced(Clock(), prefill_tokens_per_s=10.0, tokens_per_s=10.0)
    engine.submit(job("a", [1] * 100, 4), attempt=1)
    assert engine.expected_step_s() == pytest.approx(10.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens_per_s": 0.0}, "tokens_per_s must be greater than 0"),
        ({"tokens_per_s": float("nan")}, "tokens_per_s"),
        ({"max_running": "many"}, "max_running"),
        ({"tokens_per_second": 5.0}, "tokens_per_second"),
        ({"load_s": -1.0}, "load_s must not be negative"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        read_options(options)


def test_what_a_deployment_says_of_any_engine_is_taken() -> None:
    options = {"dtype": "float32", "exact": True, "max_context_tokens": 4096, "tensor_parallel": 1}
    assert read_options(options) == PacedOptions(
        dtype="float32", exact=True, max_context_tokens=4096
    )


def test_log_probabilities_are_declared_for_each_token_and_once_for_the_prompt() -> None:
    engine = paced(Clock(), tokens_per_s=10.0, step_s=0.2)
    sampling = Sampling(6, logprobs=2, prompt_logprobs=0)
    engine.submit(JobSpec("a", "request", [1, 2, 3], sampling), 1)
    events = run_dry(engine)["a"]
    for event in events:
        assert [each.logprob for each in event.logprobs] == [
            declared_logprob(token) for token in event.tokens
        ]
        assert all(len(each.top) == 2 for each in event.logprobs)
    told = [event.prompt_logprobs for event in events if event.prompt_logprobs]
    assert told == [[None, *declared([2, 3], 0)]]
    resumed = JobSpec("a", "request", [1, 2, 3], sampling, delivered=tokens(events)[:2])
    engine.submit(resumed, 2)
    assert not any(event.prompt_logprobs for event in run_dry(engine)["a"])
