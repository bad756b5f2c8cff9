from __future__ import annotations

import pytest

from infra.performance.model_facts import ModelFacts, facts_of


def test_weights_and_kv_cache_are_those_of_llama_8b(llama_8b: ModelFacts) -> None:
    assert llama_8b.weight_bytes("none") == pytest.approx(16.06e9, rel=0.001)
    assert llama_8b.weight_bytes("int8") == pytest.approx(9.0e9, rel=0.01)
    assert llama_8b.kv_token_bytes() == 131072


def test_a_token_passes_two_of_eight_experts(mixtral: ModelFacts) -> None:
    total = mixtral.product_weights + mixtral.other_weights
    assert total == pytest.approx(46.7e9, rel=0.005)
    assert mixtral.active_product_weights == pytest.approx(12.75e9, rel=0.01)


def test_a_large_batch_reads_every_expert_and_a_small_one_few(mixtral: ModelFacts) -> None:
    alone, many = mixtral.read_bytes("none", 1), mixtral.read_bytes("none", 64)
    assert alone == pytest.approx(2 * mixtral.active_product_weights)
    assert many == pytest.approx(2 * mixtral.product_weights, rel=0.001)


def test_a_tied_head_is_counted_once() -> None:
    config = {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "intermediate_size": 1536,
        "tie_word_embeddings": True,
    }
    assert facts_of(config).weight_bytes("none") == pytest.approx(2 * 134.5e6, rel=0.001)


def test_a_config_without_a_size_is_refused() -> None:
    with pytest.raises(KeyError, match="num_hidden_layers"):
        facts_of({"hidden_size": 1})
