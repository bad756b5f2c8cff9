"""Keys and values of 8 bits: near, each by itself, and the same from kernel and reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tests.worker.kernels.paged_batch import PagedBatch
from worker.kernels.kv_coding import decode, encode
from worker.kernels.paged_attention import launch
from worker.kernels.paged_attention import reference as attention_reference
from worker.kernels.rope import reference as rope_reference

Kernel = Callable[[str], ModuleType]

CODES = [torch.int8, torch.float8_e4m3fn]
# Half a step of int8, of the largest; half a step of e4m3's three places, of each.
STEP = {torch.int8: 0.5 / 127, torch.float8_e4m3fn: 2**-4}


def exponents(count: int) -> Tensor:
    return torch.logspace(-3, 3, count)[:, None]


@pytest.mark.parametrize("dtype", CODES)
def test_a_vector_is_as_near_as_its_largest_number_allows(dtype: torch.dtype) -> None:
    vectors = torch.randn(50, 64) * exponents(50)
    codes, scales = encode(vectors, dtype)
    error = (decode(codes, scales) - vectors).abs()
    assert (error <= vectors.abs().amax(dim=1, keepdim=True) * STEP[dtype] * 1.001).all()


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_visible_and_zeros_stay_zeros(
    dtype: torch.dtype, broken: float
) -> None:
    vectors = torch.zeros(2, 8)
    vectors[0, 3] = broken
    found = decode(*encode(vectors, dtype))
    assert not found[0].isfinite().any()
    assert not found[1].any()


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize(
    ("rows", "kv_heads", "group", "width"),
    [(0, 1, 1, 8), (1, 1, 1, 2), (3, 2, 3, 20), (7, 3, 4, 64)],
)
def test_the_kernel_writes_the_codes_of_the_reference(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    rows: int,
    kv_heads: int,
    group: int,
    width: int,
) -> None:
    heads = [kv_heads * group, kv_heads, kv_heads]
    query, key, value = (
        (torch.randn(rows, count, width) * exponents(rows)[:, None]).to(kernel_device)
        for count in heads
    )
    value[1:2] = 0
    key[2:3, 0, width - 1] = torch.nan
    angles = torch.rand(rows, width // 2, device=kernel_device) * 100
    rotation = (angles.cos(), angles.sin())
    slots = torch.randperm(12, device=kernel_device)[:rows]
    results = []
    for module in (gpu_kernel("rope"), rope_reference):
        cache = torch.zeros(2, kv_heads, 4, 3, width, dtype=dtype, device=kernel_device)
        scales = torch.zeros(2, kv_heads, 4, 3, device=kernel_device)
        module.rotate_and_store(
            query, key, value, rotation, slots, cache[0], cache[1], (scales[0], scales[1])
        )
        results.append((cache.float(), scales))
    (codes, scales), (expected, expected_scales) = results
    torch.testing.assert_close(scales, expected_scales, rtol=1e-6, atol=0.0, equal_nan=True)
    # The last bit of a sine may move a number across the middle between two codes.
    assert (codes != expected).float().mean() <= 0.01
    torch.testing.assert_close(codes, expected, rtol=0.13, atol=1.0)


def test_every_e4m3_and_every_middle_between_two_is_coded_as_torch_does(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    codes = torch.arange(127, dtype=torch.int16).to(torch.uint8).view(torch.float8_e4m3fn)
    values = codes.float()
    values = torch.cat([values, (values[1:] + values[:-1]) / 2])
    values = torch.cat([values, -values])
    # One head, whose largest number makes the scale 1.
    value = values[None, None].to(kernel_device)
    width = len(values)
    still = [torch.ones(1, width // 2, device=kernel_device) for _ in range(2)]
    cache = torch.zeros(2, 1, 1, 1, width, dtype=torch.float8_e4m3fn, device=kernel_device)
    scales = torch.zeros(2, 1, 1, 1, device=kernel_device)
    slots = torch.zeros(1, dtype=torch.int64, device=kernel_device)
    gpu_kernel("rope").rotate_and_store(
        value, value, value, still, slots, cache[0], cache[1], (scales[0], scales[1])
    )
    assert scales[1].item() == 1
    expected = values.to(torch.float8_e4m3fn).view(torch.uint8)
    assert torch.equal(cache[1].flatten().view(torch.uint8).cpu(), expected)


def coded(
    paged: PagedBatch, dtype: torch.dtype
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The caches of a batch and their scales; codes that nobody wrote have a scale of NaN."""
    pairs = [encode(cache, dtype) for cache in (paged.key_cache, paged.value_cache)]
    return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize(
    ("heads", "block_tokens", "query_dtype"),
    [
        ((1, 1, 16), 16, torch.float32),
        ((2, 3, 20), 5, torch.float32),
        ((1, 8, 32), 7, torch.float16),
    ],
)
def test_attention_over_coded_pages(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    splits: int,
    heads: tuple[int, int, int],
    block_tokens: int,
    query_dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(launch, "LEAST_SPLIT_TOKENS", 1)
    monkeypatch.setattr(launch, "MOST_SPLITS", splits)
    parts = [(5, 1), (80, 1), (0, 0), (0, 9), (65, 7)]
    paged = PagedBatch.random(parts, heads, block_tokens, torch.float32, kernel_device)
    caches, scales = coded(paged, dtype)
    # What the cache stands for: the kernel adds no error of its own.
    wide = [decode(*pair).nan_to_num() for pair in zip(caches, scales, strict=True)]
    rule = {"window": 70, "soft_cap": 3.0}
    query = paged.query.to(query_dtype)
    expected = attention_reference.paged_attention(query.float(), *wide, paged.batch, **rule)
    attention = gpu_kernel("paged_attention").paged_attention
    found = attention(query, *caches, paged.batch, scales=scales, **rule)
    tolerance = 1e-5 if query_dtype == torch.float32 else 5e-3
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("exact", [False, True])
def test_the_reference_reads_what_coded_pages_stand_for(dtype: torch.dtype, exact: bool) -> None:
    cpu = torch.device("cpu")
    paged = PagedBatch.random([(3, 1), (20, 1), (4, 6)], (2, 2, 16), 4, torch.float32, cpu)
    whole = replace(
        paged, key_cache=paged.key_cache.nan_to_num(), value_cache=paged.value_cache.nan_to_num()
    )
    caches, scales = coded(whole, dtype)
    wide = [decode(*pair) for pair in zip(caches, scales, strict=True)]
    attention = attention_reference.paged_attention
    found = attention(paged.query, *caches, paged.batch, exact, scales=scales)
    assert torch.equal(found, attention(paged.query, *wide, paged.batch, exact))
