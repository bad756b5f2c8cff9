"""Qwen3's logits are transformers' logits, normalised heads included."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.tiny_decoder import TinyDecoder
from tests.worker.models.judged import assert_logits_equal

VARIANTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "wide_heads": {"head_dim": 32},
    "windows_by_type": {
        "use_sliding_window": True,
        "sliding_window": 20,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(tiny_decoder: TinyDecoder, variant: str, exact: bool) -> None:
    assert_logits_equal(tiny_decoder("Qwen3", **VARIANTS[variant]), exact)
