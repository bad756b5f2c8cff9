"""The real model answers as transformers does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.wire import JobSpec, Sampling, TokenEvent
from worker.engine.base import Engine, EngineSpec
from worker.engine.torch_engine import build

NEW_TOKENS = 64
NEAR_TIE = 1e-4
LICENSE = Path(__file__).parents[3] / "LICENSE"
QUESTIONS = (
    "Once upon a time",
    "The capital of France is",
    "def fibonacci(n):\n",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a haiku about the sea.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nExplain photosynthesis to a child in two sentences.<|im_end|>\n"
    "<|im_start|>assistant\n",
    "Dear Sir or Madam,\n\nI am writing to complain about the train to",
    "1, 1, 2, 3, 5, 8, 13,",
    "SELECT name, COUNT(*) FROM employees WHERE",
    "Liste des courses : pain, lait,",
    "Water boils at 100 degrees Celsius at sea level, but on a mountain",
    "Q: How many legs does a spider have?\nA: Eight.\nQ: How many legs does an ant have?\nA:",
)
EXCERPT_TOKENS = (70, 97, 128, 160, 199, 231, 265, 300)


@pytest.fixture(scope="module")
def prompts(smollm2_directory: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_directory)
    text: list[int] = tokenizer(LICENSE.read_text())["input_ids"]
    excerpts = [text[150 * i : 150 * i + length] for i, length in enumerate(EXCERPT_TOKENS)]
    return [tokenizer(question)["input_ids"] for question in QUESTIONS] + excerpts


def run_all(engine: Engine, prompts: list[list[int]]) -> list[list[int]]:
    sampling = Sampling(NEW_TOKENS, temperature=0.0, ignore_eos=True)
    outputs: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        assert engine.submit(JobSpec(str(number), "request", prompt, sampling), 1) is None
        outputs[str(number)] = []
    while engine.stats().running + engine.stats().waiting:
        for event in engine.step():
            take(outputs[event.job_id], event)
    return list(outputs.values())


def take(output: list[int], event: TokenEvent) -> None:
    assert event.index == len(output)
    output += event.tokens


def test_greedy_fp32_equals_transformers_up_to_a_near_tie(
    smollm2_directory: Path, prompts: list[list[int]]
) -> None:
    from transformers import AutoModelForCausalLM

    assert len(prompts) >= 20
    torch.set_num_threads(1)
    options = {
        "dtype": "float32",
        "max_context_tokens": 512,
        "max_running": 24,
        "step_token_budget": 160,
    }
    engine = build(EngineSpec("replica", smollm2_directory, options))
    outputs = run_all(engine, prompts)
    engine.close()
    judge = AutoModelForCausalLM.from_pretrained(smollm2_directory, dtype=torch.float32)
    near_ties = []
    for number, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        assert len(output) == NEW_TOKENS
        with torch.inference_mode():
            ids = torch.tensor([prompt + output[:-1]])
            logits = judge(ids, logits_to_keep=NEW_TOKENS).logits[0]
        best = logits.topk(2)
        gaps = (best.values[:, 0] - best.values[:, 1]).tolist()
        for step, (gap, token) in enumerate(zip(gaps, best.indices[:, 0].tolist(), strict=True)):
            if gap < NEAR_TIE:
                near_ties.append(f"prompt {number}, step {step}: top two {gap:.1e} apart")
                break
            assert output[step] == token, f"prompt {number} differs at step {step}, gap {gap:.2e}"
    print("\n".join(near_ties) or "no near ties")  # noqa: T201
    assert len(near_ties) <= len(prompts) // 20, near_ties
