"""Gemma 3's logits are transformers' logits, for local and global layers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.tiny_decoder import TinyDecoder
from tests.worker.models.judged import assert_logits_equal

MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 30}
VARIANTS: dict[str, dict[str, Any]] = {
    "mixed": MIXED,
    "by_pattern": {"num_hidden_layers": 6, "sliding_window": 20, "hidden_size": 48},
    "scaled_scores": {**MIXED, "query_pre_attn_scalar": 40},
    "capped_logits": {**MIXED, "final_logit_softcapping": 3.0},
    "untied": {**MIXED, "tie_word_embeddings": False},
    "linear_rope": {
        **MIXED,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 5e4, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
        },
    },
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(tiny_decoder: TinyDecoder, variant: str, exact: bool) -> None:
    options = {"tie_word_embeddings": True, **VARIANTS[variant]}
    assert_logits_equal(tiny_decoder("Gemma3Text", **options), exact)


def test_a_config_of_the_first_release_is_read(tiny_decoder: TinyDecoder) -> None:
    scaled = {"rope_type": "linear", "factor": 8.0}
    directory = tiny_decoder(
        "Gemma3Text",
        tie_word_embeddings=True,
        num_hidden_layers=3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        sliding_window=25,
        rope_parameters={
            "full_attention": {**scaled, "rope_theta": 7e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 200.0},
        },
    )
    path = directory / "config.json"
    config = json.loads(path.read_bytes())
    for name in ("rope_parameters", "layer_types", "_sliding_window_pattern"):
        config.pop(name)
    config |= {
        "rope_theta": 7e4,
        "rope_local_base_freq": 200.0,
        "rope_scaling": scaled,
        "sliding_window_pattern": 2,
    }
    path.write_text(json.dumps(config))
    assert_logits_equal(directory)
