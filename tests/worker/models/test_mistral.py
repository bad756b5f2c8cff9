"""Mistral's logits are transformers' logits, within its window and beyond it."""

from __future__ import annotations

import pytest

from tests.fixtures.tiny_decoder import TinyDecoder
from tests.worker.models.judged import assert_logits_equal


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("window", [None, 1, 40, 4096])
def test_logits_equal_transformers(
    tiny_decoder: TinyDecoder, window: int | None, exact: bool
) -> None:
    assert_logits_equal(tiny_decoder("Mistral", sliding_window=window), exact)
