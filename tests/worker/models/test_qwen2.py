"""Qwen2's logits are transformers' logits, biases and windows included."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.tiny_decoder import TinyDecoder
from tests.worker.models.judged import assert_logits_equal

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "windows_above": {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 1},
    "yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(tiny_decoder: TinyDecoder, variant: str, exact: bool) -> None:
    assert_logits_equal(tiny_decoder("Qwen2", **VARIANTS[variant]), exact)
