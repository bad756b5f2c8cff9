"""Every sampling parameter does what it says, in a batch with others, after recovery and without
its cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from infra.wire import FinishReason, JobSpec, Sampling, TokenEvent
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.base import Engine, EngineSpec
from worker.engine.sampling_state import History
from worker.engine.torch_engine import build

PROMPT = [5, 17, 33, 2, 60, 17, 8]
VOCABULARY = 97
OPTIONS = {"kv_cache_tokens": 1024, "max_context_tokens": 96, "max_running": 8, "exact": True}
OPTIONS["dtype"] = "float32"


@pytest.fixture(scope="module")
def directory(tiny_llama: TinyLlama) -> Path:
    return tiny_llama()


@pytest.fixture(scope="module")
def engine(directory: Path) -> Engine:
    return build(EngineSpec("replica", directory, OPTIONS))


@pytest.fixture(scope="module")
def original(directory: Path) -> Any:
    import transformers

    return transformers.LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)


def job(job_id: str = "a", delivered: list[int] | None = None, **changes: Any) -> JobSpec:
    prompt = changes.pop("prompt", PROMPT)
    settings = {"max_tokens": 16, "temperature": 0.0, "ignore_eos": True, **changes}
    return JobSpec(job_id, "request", prompt, Sampling(**settings), 0, delivered or [])


def run(engine: Engine, *jobs: JobSpec) -> dict[str, list[TokenEvent]]:
    events: dict[str, list[TokenEvent]] = {each.job_id: [] for each in jobs}
    for each in jobs:
        refused = engine.submit(each, 1)
        assert refused is None, refused
    while engine.stats().running + engine.stats().waiting:
        for event in engine.step():
            events[event.job_id].append(event)
    return events


def output(engine: Engine, spec: JobSpec) -> list[int]:
    return tokens_of(run(engine, spec)[spec.job_id])


def tokens_of(events: list[TokenEvent]) -> list[int]:
    return [token for event in events for token in event.tokens]


PENALTIES = {"repetition_penalty": 1.4, "frequency_penalty": 0.6, "presence_penalty": 0.3}


def test_the_repetition_penalty_is_that_of_transformers(engine: Engine, original: Any) -> None:
    expected = original.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=16,
        do_sample=False,
        repetition_penalty=1.4,
        eos_token_id=None,
    )
    assert output(engine, job(repetition_penalty=1.4)) == expected[0, len(PROMPT) :].tolist()


def test_presence_and_frequency_penalties_are_openais(engine: Engine, original: Any) -> None:
    """Step by step: the logits of transformers, less what the output so far costs."""
    tokens = list(PROMPT)
    for _ in range(12):
        with torch.inference_mode():
            logits = original(torch.tensor([tokens])).logits[0, -1]
        counts = torch.bincount(torch.tensor(tokens[len(PROMPT) :]).long(), minlength=VOCABULARY)
        logits = logits - 1.5 * counts - 0.8 * (counts > 0)
        tokens.append(int(logits.argmax()))
    spec = job(frequency_penalty=1.5, presence_penalty=0.8, max_tokens=12)
    assert output(engine, spec) == tokens[len(PROMPT) :]


def test_a_bias_forces_and_forbids(engine: Engine) -> None:
    plain = output(engine, job())
    assert output(engine, job(logit_bias={41: 100.0})) == [41] * 16
    forbidden = dict.fromkeys(plain, -100.0)
    assert not set(output(engine, job(logit_bias=forbidden))) & set(plain)


def test_no_stop_token_comes_before_min_tokens(engine: Engine) -> None:
    stop = output(engine, job())[0]
    assert output(engine, job(stop_token_ids=(stop,))) == []
    [*_, last] = run(engine, job(stop_token_ids=(stop,), min_tokens=5))["a"]
    found = output(engine, job(stop_token_ids=(stop,), min_tokens=5))
    assert len(found) >= 5
    assert stop not in found
    assert last.finish in (FinishReason.STOP, FinishReason.LENGTH)


def test_min_p_of_one_is_greedy(engine: Engine) -> None:
    assert output(engine, job(temperature=1.5, min_p=1.0)) == output(engine, job())


@pytest.mark.parametrize("truncated", [{}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}])
def test_next_to_no_temperature_is_greedy(engine: Engine, truncated: dict[str, Any]) -> None:
    greedy = output(engine, job())
    for temperature in (1e-29, 1e-310, 5e-324):
        assert output(engine, job(temperature=temperature, seed=3, **truncated)) == greedy


def test_excluding_every_token_ends_the_request_with_a_reason(engine: Engine) -> None:
    every = tuple(range(VOCABULARY))
    events = run(engine, job("none", stop_token_ids=every, min_tokens=3), job("other"))
    assert [event.finish for event in events["none"]] == [FinishReason.ERROR]
    assert "no token is allowed" in events["none"][0].error
    assert len(tokens_of(events["other"])) == 16


MIXED = [
    job("greedy"),
    job("penalties", **PENALTIES),
    job("warm", temperature=1.2, seed=3, **PENALTIES),
    job("top", temperature=0.9, top_p=0.8, top_k=20, min_p=0.01, seed=4, logprobs=2),
    job("biased", temperature=1.0, seed=5, logit_bias={3: 2.0, 9: -4.0}, logprobs=0),
    job("long", stop_token_ids=(1, 2, 3), min_tokens=9, temperature=1.5, seed=6),
    job("asked", prompt=PROMPT * 3, prompt_logprobs=1, logprobs=1, **PENALTIES),
]


@pytest.fixture(scope="module")
def alone(engine: Engine) -> dict[str, list[TokenEvent]]:
    return {spec.job_id: run(engine, spec)[spec.job_id] for spec in MIXED}


def test_a_batch_of_mixed_parameters_says_what_each_says_alone(
    engine: Engine, alone: dict[str, list[TokenEvent]]
) -> None:
    assert run(engine, *MIXED) == alone
    assert run(engine, *reversed(MIXED)) == alone


@pytest.mark.parametrize("overlap", [False, True])
def test_chunks_preemption_and_overlap_change_nothing(
    directory: Path, alone: dict[str, list[TokenEvent]], overlap: bool
) -> None:
    tight = {"kv_cache_tokens": 96, "step_token_budget": 8, "block_tokens": 4, "overlap": overlap}
    cramped = build(EngineSpec("replica", directory, {**OPTIONS, **tight}))
    events = run(cramped, *MIXED)
    for name, expected in alone.items():
        assert tokens_of(events[name]) == tokens_of(expected), name
        assert [each.logprobs for each in events[name]] == [each.logprobs for each in expected]
        told = [each.prompt_logprobs for each in events[name] if each.prompt_logprobs]
        assert told == [each.prompt_logprobs for each in expected if each.prompt_logprobs], name


def test_a_resumed_attempt_counts_what_was_delivered(
    engine: Engine, alone: dict[str, list[TokenEvent]]
) -> None:
    for spec in MIXED:
        whole = tokens_of(alone[spec.job_id])
        again = JobSpec(spec.job_id, "request", spec.prompt, spec.sampling, 0, whole[:6])
        events = run(engine, again)[spec.job_id]
        assert tokens_of(events) == whole[6:], spec.job_id
        assert not any(event.prompt_logprobs for event in events), "they were delivered before"
        assert [event.logprobs for event in events if event.tokens] == [
            event.logprobs for event in alone[spec.job_id] if event.index >= 6 and event.tokens
        ]


def test_logprobs_are_the_log_softmax_of_the_models_own_logits(
    engine: Engine, original: Any
) -> None:
    spec = job(logprobs=3, logit_bias={41: 5.0}, temperature=1.7, seed=1, **PENALTIES)
    events = run(engine, spec)["a"]
    tokens = PROMPT + tokens_of(events)
    with torch.inference_mode():
        expected = original(torch.tensor([tokens])).logits[0].double().log_softmax(dim=-1)
    for place, event in enumerate(events):
        row = expected[len(PROMPT) - 1 + place]
        [told] = event.logprobs
        assert told.logprob == pytest.approx(float(row[event.tokens[0]]), abs=1e-4)
        top = row.topk(3)
        assert [token for token, _ in told.top] == top.indices.tolist()
        assert [value for _, value in told.top] == pytest.approx(top.values.tolist(), abs=1e-4)


@pytest.mark.parametrize("length", [1, 2, 90])
def test_prompt_logprobs_come_with_the_first_token(
    engine: Engine, original: Any, length: int
) -> None:
    prompt = [(7 * i + i * i) % VOCABULARY for i in range(length)]
    first, *others = run(engine, job(prompt=prompt, max_tokens=3, prompt_logprobs=2))["a"]
    assert not any(event.prompt_logprobs for event in others)
    none, *told = first.prompt_logprobs
    assert none is None
    assert len(told) == length - 1
    with torch.inference_mode():
        expected = original(torch.tensor([prompt])).logits[0].double().log_softmax(dim=-1)
    for place, each in enumerate(told):
        assert each is not None
        assert each.logprob == pytest.approx(float(expected[place, prompt[place + 1]]), abs=1e-4)
        assert [token for token, _ in each.top] == expected[place].topk(2).indices.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_tokens": 17}, "min_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_p": float("nan")}, "min_p"),
        ({"min_p": 1.5}, "min_p"),
        ({"presence_penalty": float("nan")}, "presence_penalty"),
        ({"frequency_penalty": float("inf")}, "frequency_penalty"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"logit_bias": {97: 1.0}}, "logit_bias: token id 97"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias: token id -1"),
        ({"logit_bias": {5: float("nan")}}, "logit_bias of token 5"),
        ({"stop_token_ids": (97,)}, "stop_token_ids: token id 97"),
        ({"logprobs": -2}, "logprobs"),
        ({"prompt_logprobs": 98}, "prompt_logprobs"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_with_its_name(
    engine: Engine, changes: dict[str, Any], message: str
) -> None:
    event = engine.submit(job(**changes), 2)
    assert event is not None
    assert event.finish is FinishReason.ERROR
    assert message in event.error


def test_who_waits_takes_no_memory_for_penalties(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[History] = []
    begin = History.__init__

    def counted(self: History, *arguments: Any) -> None:
        made.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(History, "__init__", counted)
    engine = build(EngineSpec("replica", directory, {**OPTIONS, "max_running": 1}))
    for name in "abcd":
        engine.submit(job(name, frequency_penalty=0.5), 1)
    assert not made
    engine.step()
    assert len(made) == 1
