"""The KV cache holds what its options say, in as many bytes as it says."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures.tiny_llama import TinyLlama
from tests.worker.models.judged import PREFILL, TOKENS, our_logits
from worker.engine.assembly import assemble
from worker.engine.base import EngineError, EngineSpec
from worker.engine.kv_cache import CACHE_DTYPES, KvCache, cache_dtype, token_bytes
from worker.models.base import ModelShape

SHAPE = ModelShape(layers=2, kv_heads=3, head_width=8, vocabulary=10, max_positions=64)


@pytest.mark.parametrize("dtype", [torch.float32, *CACHE_DTYPES.values()])
def test_a_token_costs_what_is_allocated_for_it(dtype: torch.dtype) -> None:
    cache = KvCache(SHAPE, 4, 16, dtype, torch.device("cpu"))
    tensors = [each for index in range(2) for each in cache.layer(index)]
    tensors += [each for index in range(2) for each in cache.scales(index) or ()]
    allocated = sum(each.numel() * each.itemsize for each in tensors)
    assert allocated == token_bytes(SHAPE, dtype) * 5 * 16


@pytest.mark.parametrize("dtype", [torch.float32, *CACHE_DTYPES.values()])
def test_a_cleared_block_is_zero_and_its_neighbours_are_not(dtype: torch.dtype) -> None:
    cache = KvCache(SHAPE, 4, 16, dtype, torch.device("cpu"))
    held = [*cache.layer(1), *(cache.scales(1) or ())]
    for each in held:
        each.fill_(torch.nan if each.dtype == torch.float32 else 1)
    cache.clear([1, 3])
    for each in held:
        assert not each[:, [1, 3]].float().any()
        assert (each[:, [0, 2, 4]].float() != 0).all()


def test_auto_is_the_dtype_of_the_model() -> None:
    assert cache_dtype("auto", torch.float32) == torch.float32
    assert cache_dtype("int8", torch.float32) == torch.int8


@pytest.mark.parametrize(("option", "error"), [("int8", 0.03), ("fp8", 0.15)])
def test_a_coded_cache_changes_logits_little(
    tiny_llama: TinyLlama, option: str, error: float
) -> None:
    directory = tiny_llama()
    sizes = {"dtype": "float32", "kv_cache_tokens": 512, "max_context_tokens": 256}
    expected = our_logits(directory, TOKENS, PREFILL, **sizes)
    found = our_logits(directory, TOKENS, PREFILL, kv_cache_dtype=option, **sizes)
    difference = (found - expected).std() / expected.std()
    assert 0 < difference < error


def test_a_coded_cache_holds_more_tokens_in_the_same_bytes(tiny_llama: TinyLlama) -> None:
    def tokens(option: str) -> int:
        options = {
            "dtype": "float32",
            "kv_cache_dtype": option,
            "kv_cache_bytes": 1 << 20,
            "max_context_tokens": 64,
            "max_running": 1024,
            "step_token_budget": 1024,
        }
        limits = assemble(EngineSpec("replica", tiny_llama(), options)).limits
        return limits.blocks * limits.block_tokens

    assert tokens("int8") == tokens("fp8") > 2 * tokens("auto")


def test_a_dtype_that_no_cache_has_is_refused(tiny_llama: TinyLlama) -> None:
    with pytest.raises(EngineError, match="kv_cache_dtype"):
        assemble(EngineSpec("replica", tiny_llama(), {"kv_cache_dtype": "int3"}))
