"""Llama's logits are transformers' logits, for every shape that a checkpoint may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.assembly import assemble
from worker.engine.base import EngineSpec
from worker.scheduling.plan import StepResult
from worker.scheduling.scheduler import Scheduler
from worker.scheduling.sequence import Sequence

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "no_groups": {"num_key_value_heads": 6},
    "one_kv_head": {"num_key_value_heads": 1},
    "linear_rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 900.0, "factor": 2.0}},
    "llama3_rope": {"rope_parameters": LLAMA3_ROPE},
    "odd_vocabulary": {"vocab_size": 101},
}


def our_logits(directory: Path, tokens: list[int], prefill: int, **options: Any) -> torch.Tensor:
    """Logits at positions prefill-1 .. end: a prefill, then decodes that are told the tokens."""
    parts = assemble(EngineSpec("replica", directory, {"dtype": "float32", **options}))
    scheduler = Scheduler(parts.limits)
    scheduler.add(Sequence(0, tokens[:prefill], prefill, len(tokens) + 1))
    rows = []
    for token in [*tokens[prefill:], 0]:
        while (plan := scheduler.plan(0.0)) is not None:
            logits = parts.runner.logits(plan)
            if len(logits):
                rows.append(logits[0])
                scheduler.commit(StepResult({0: [token]}))
                break
            scheduler.commit(StepResult({}))
    return torch.stack(rows)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(tiny_llama: TinyLlama, variant: str, exact: bool) -> None:
    from transformers import AutoModelForCausalLM

    directory = tiny_llama(**VARIANTS[variant])
    tokens = torch.randint(0, 97, (150,), generator=torch.Generator().manual_seed(7)).tolist()
    ours = our_logits(
        directory, tokens, 141, exact=exact, step_token_budget=64, kv_cache_tokens=512
    )
    with torch.inference_mode():
        judge = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        theirs = judge(torch.tensor([tokens])).logits[0, 140:]
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.5, "logits this flat could not tell a wrong model"
    assert (ours - theirs).abs().max() <= 1e-4


def test_bfloat16_stays_near_fp32(tiny_llama: TinyLlama) -> None:
    directory = tiny_llama()
    tokens = list(range(60))
    wide = our_logits(directory, tokens, 50, kv_cache_tokens=512)
    narrow = our_logits(directory, tokens, 50, kv_cache_tokens=512, dtype="bfloat16")
    assert torch.nn.functional.cosine_similarity(wide, narrow).min() > 0.99
