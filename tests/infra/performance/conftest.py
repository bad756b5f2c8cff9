from __future__ import annotations

import pytest

from infra.performance.model_facts import ModelFacts, facts_of


@pytest.fixture
def llama_8b() -> ModelFacts:
    return facts_of(
        {
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 128256,
            "intermediate_size": 14336,
            "tie_word_embeddings": False,
        }
    )


@pytest.fixture
def mixtral() -> ModelFacts:
    return facts_of(
        {
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 32000,
            "intermediate_size": 14336,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        }
    )
