"""transformers in bf16: one static batch through `generate`."""

from __future__ import annotations

import time
from typing import Any

from loadtests.benchmarks.arms.answering import Answer, Commands, answer
from loadtests.benchmarks.engine.wave import Prompts, rate


def load(settings: dict[str, Any]) -> tuple[Answer, Commands]:
    import torch
    import transformers

    torch.set_num_threads(settings["threads"])
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        settings["model"], dtype=torch.bfloat16, local_files_only=True
    )

    @torch.inference_mode()
    def generate(prompts: Prompts, max_tokens: int) -> Answer:
        batch = torch.tensor(prompts)
        began = time.perf_counter()
        found = model.generate(
            batch,
            attention_mask=torch.ones_like(batch),
            do_sample=False,
            min_new_tokens=max_tokens,
            max_new_tokens=max_tokens,
            pad_token_id=0,
        )
        elapsed_s = time.perf_counter() - began
        tokens = found.numel() - batch.numel()
        return rate(tokens, len(prompts) * max_tokens, elapsed_s)

    @torch.inference_mode()
    def score(tokens: list[int]) -> Answer:
        logits = model(torch.tensor([tokens])).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="sum")
        return {"negative_log_likelihood": loss.item()}

    facts = {
        "version": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "format": "bf16",
        "mode": "eager",
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    return facts, {"generate": generate, "score": score}


if __name__ == "__main__":
    answer(load)
