"""Mixtral's logits are transformers' logits: routing, shares and experts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.tiny_decoder import TinyDecoder
from tests.worker.models.judged import assert_logits_equal

VARIANTS: dict[str, dict[str, Any]] = {
    "two_of_four": {"num_local_experts": 4},
    "one_of_three": {"num_local_experts": 3, "num_experts_per_tok": 1},
    "all": {"num_local_experts": 2},
    "window": {"num_local_experts": 4, "sliding_window": 25},
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers(tiny_decoder: TinyDecoder, variant: str, exact: bool) -> None:
    assert_logits_equal(tiny_decoder("Mixtral", **VARIANTS[variant]), exact)
