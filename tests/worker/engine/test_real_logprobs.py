"""The real model's log-probabilities and biases mean what they say, against transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.wire import JobSpec, Sampling, TokenEvent, TokenLogprob
from worker.engine.base import Engine, EngineSpec
from worker.engine.torch_engine import build

TEXT = "The capital of France is Paris, and the capital of Italy is"


@pytest.fixture(scope="module")
def prompt(smollm2_directory: Path) -> list[int]:
    from transformers import AutoTokenizer

    ids: list[int] = AutoTokenizer.from_pretrained(smollm2_directory)(TEXT)["input_ids"]
    return ids


@pytest.fixture(scope="module")
def engine(smollm2_directory: Path) -> Engine:
    torch.set_num_threads(1)
    options = {"dtype": "float32", "max_context_tokens": 128, "max_running": 4}
    return build(EngineSpec("replica", smollm2_directory, options))


def run(engine: Engine, prompt: list[int], **settings: Any) -> list[TokenEvent]:
    sampling = Sampling(**{"max_tokens": 6, "temperature": 0.0, **settings})
    assert engine.submit(JobSpec("a", "request", prompt, sampling), 1) is None
    events: list[TokenEvent] = []
    while engine.stats().running + engine.stats().waiting:
        events += engine.step()
    return events


def test_prompt_and_output_are_as_likely_as_transformers_finds_them(
    engine: Engine, prompt: list[int], smollm2_directory: Path
) -> None:
    from transformers import AutoModelForCausalLM

    events = run(engine, prompt, logprobs=3, prompt_logprobs=3)
    output = [token for event in events for token in event.tokens]
    told = [*events[0].prompt_logprobs[1:], *(each for event in events for each in event.logprobs)]
    original = AutoModelForCausalLM.from_pretrained(smollm2_directory, dtype=torch.float32)
    with torch.inference_mode():
        logits = original(torch.tensor([prompt + output])).logits[0]
    expected = logits.double().log_softmax(dim=-1)[:-1]
    following = torch.tensor((prompt + output)[1:])
    assert len(told) == len(following)
    found = [each for each in told if isinstance(each, TokenLogprob)]
    chosen = expected.gather(1, following[:, None])[:, 0]
    assert [each.logprob for each in found] == pytest.approx(chosen.tolist(), abs=2e-3)
    top = expected.topk(3, dim=-1).values
    for row, each in enumerate(found):
        assert [value for _, value in each.top] == pytest.approx(top[row].tolist(), abs=2e-3)
        assert sum(math.exp(value) for _, value in each.top) <= 1


def test_a_bias_of_minus_100_forbids_and_of_100_forces(engine: Engine, prompt: list[int]) -> None:
    rome = run(engine, prompt)[0].tokens[0]
    without = run(engine, prompt, logit_bias={rome: -100.0})
    assert rome not in [token for event in without for token in event.tokens]
    forced = run(engine, prompt, logit_bias={1234: 100.0})
    assert [token for event in forced for token in event.tokens] == [1234] * 6
