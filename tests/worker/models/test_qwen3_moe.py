"""Qwen3-MoE's logits are transformers' logits, with experts in all layers or in some."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.tiny_decoder import TinyDecoder
from tests.worker.models.judged import assert_logits_equal

EXPERTS = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 40}
VARIANTS: dict[str, dict[str, Any]] = {
    "all_sparse": {"norm_topk_prob": True},
    "shares_as_they_are": {},
    "first_dense": {"mlp_only_layers": [0]},
    "every_second_sparse": {"decoder_sparse_step": 2},
    "window": {"use_sliding_window": True, "sliding_window": 30},
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(tiny_decoder: TinyDecoder, variant: str, exact: bool) -> None:
    assert_logits_equal(tiny_decoder("Qwen3Moe", **EXPERTS, **VARIANTS[variant]), exact)


def test_the_older_name_of_the_number_of_experts_is_read(tiny_decoder: TinyDecoder) -> None:
    directory = tiny_decoder("Qwen3Moe", **EXPERTS)
    path = directory / "config.json"
    config = json.loads(path.read_bytes())
    config["num_experts"] = config.pop("num_local_experts")
    path.write_text(json.dumps(config))
    assert_logits_equal(directory)
