"""Llama's logits are transformers' logits, for every shape that a checkpoint may have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.fixtures.tiny_llama import TinyLlama
from tests.worker.models.judged import assert_logits_equal, our_logits

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "beta_fast": 8.0,
    "beta_slow": 0.5,
    "original_max_position_embeddings": 64,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "no_groups": {"num_key_value_heads": 6},
    "one_kv_head": {"num_key_value_heads": 1},
    "linear_rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 900.0, "factor": 2.0}},
    "llama3_rope": {"rope_parameters": LLAMA3_ROPE},
    "yarn": {"rope_parameters": YARN_ROPE},
    "yarn_scaled": {"rope_parameters": {**YARN_ROPE, "mscale": 0.8, "mscale_all_dim": 0.5}},
    "yarn_ramp": {"rope_parameters": {**YARN_ROPE, "truncate": False, "attention_factor": 0.7}},
    "odd_vocabulary": {"vocab_size": 101},
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(tiny_llama: TinyLlama, variant: str, exact: bool) -> None:
    assert_logits_equal(tiny_llama(**VARIANTS[variant]), exact)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
def test_int8_stays_near_fp32(tiny_llama: TinyLlama, dtype: str, tied: bool) -> None:
    directory = tiny_llama(tie_word_embeddings=tied)
    tokens = list(range(60))
    wide = our_logits(directory, tokens, 50, kv_cache_tokens=512)
    options = {"dtype": dtype, "quantization": "int8", "kv_cache_tokens": 512}
    narrow = our_logits(directory, tokens, 50, **options)
    assert not torch.equal(wide, narrow)
    assert torch.nn.functional.cosine_similarity(wide, narrow).min() > 0.98


def test_bfloat16_stays_near_fp32(tiny_llama: TinyLlama) -> None:
    directory = tiny_llama()
    tokens = list(range(60))
    wide = our_logits(directory, tokens, 50, kv_cache_tokens=512)
    narrow = our_logits(directory, tokens, 50, kv_cache_tokens=512, dtype="bfloat16")
    assert torch.nn.functional.cosine_similarity(wide, narrow).min() > 0.99
