"""The Triton kernel is attention over each sequence's own keys, for any ragged batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from tests.worker.kernels.paged_batch import PagedBatch
from worker.kernels.paged_attention import launch, reference
from worker.kernels.paged_attention.launch import MOST_SPLITS, Launch

Kernel = Callable[[str], ModuleType]

BATCHES = {
    "one token": [(0, 1)],
    "decodes, one of them at a page's end": [(0, 1), (15, 1), (16, 1), (37, 1)],
    "a prompt": [(0, 21)],
    "a later chunk": [(67, 9)],
    "decodes, then chunks and prompts": [(5, 1), (80, 1), (3, 2), (0, 19), (65, 7)],
    "no rows at either end and between": [(4, 0), (9, 1), (0, 0), (0, 5), (7, 0)],
}
TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.float16: {"rtol": 5e-3, "atol": 5e-3},
}


@pytest.mark.parametrize("parts", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize(
    ("heads", "block_tokens", "dtype"),
    [
        ((1, 1, 16), 16, torch.float32),
        ((2, 3, 20), 5, torch.float32),
        ((1, 8, 32), 16, torch.float16),
    ],
    ids=["one head", "three of a head, odd pages", "fp16"],
)
@pytest.mark.parametrize("splits", [False, True], ids=["whole", "split"])
def test_a_ragged_batch(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    parts: list[tuple[int, int]],
    heads: tuple[int, int, int],
    block_tokens: int,
    dtype: torch.dtype,
    splits: bool,
) -> None:
    monkeypatch.setattr(launch, "LEAST_SPLIT_TOKENS", 1 if splits else 1 << 30)
    monkeypatch.setattr(launch, "MOST_SPLITS", 2)
    paged = PagedBatch.random(parts, heads, block_tokens, dtype, kernel_device)
    found = gpu_kernel("paged_attention").paged_attention(
        paged.query, paged.key_cache, paged.value_cache, paged.batch
    )
    torch.testing.assert_close(found.double().cpu(), paged.expected(), **TOLERANCE[dtype])


@pytest.mark.parametrize("width", [64, 80, 96, 128, 256])
def test_the_head_widths_of_the_families(
    gpu_kernel: Kernel, kernel_device: torch.device, width: int
) -> None:
    paged = PagedBatch.random([(33, 1), (0, 5)], (1, 2, width), 16, torch.float32, kernel_device)
    found = gpu_kernel("paged_attention").paged_attention(
        paged.query, paged.key_cache, paged.value_cache, paged.batch
    )
    torch.testing.assert_close(found.double().cpu(), paged.expected(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("window", "soft_cap"), [(1, 0.0), (6, 0.0), (70, 2.0), (0, 2.0)])
@pytest.mark.parametrize("splits", [1, 4])
def test_window_and_soft_cap(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    window: int,
    soft_cap: float,
    splits: int,
) -> None:
    monkeypatch.setattr(launch, "LEAST_SPLIT_TOKENS", 1)
    monkeypatch.setattr(launch, "MOST_SPLITS", splits)
    parts = [(150, 1), (3, 1), (0, 9), (60, 12)]
    paged = PagedBatch.random(parts, (1, 2, 16), 7, torch.float32, kernel_device)
    found = gpu_kernel("paged_attention").paged_attention(
        paged.query,
        paged.key_cache,
        paged.value_cache,
        paged.batch,
        window=window,
        soft_cap=soft_cap,
    )
    expected = paged.expected(window, soft_cap)
    torch.testing.assert_close(found.double().cpu(), expected, rtol=1e-4, atol=1e-5)


def test_the_kernel_and_the_reference_agree(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    parts = [(8, 1), (40, 1), (0, 6), (11, 4)]
    paged = PagedBatch.random(parts, (2, 2, 16), 4, torch.float32, kernel_device)
    # The reference multiplies what is not seen by zero, so a cache must hold numbers.
    caches = [paged.key_cache.nan_to_num(), paged.value_cache.nan_to_num()]
    for exact in (False, True):
        for rule in ({}, {"window": 5, "soft_cap": 3.0, "scale": 0.4}):
            call = (paged.query, *caches, paged.batch, exact)
            found = gpu_kernel("paged_attention").paged_attention(*call, **rule)
            expected = reference.paged_attention(*call, **rule)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_exact_rows_have_the_same_bits_alone_and_in_chunks(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    attention = gpu_kernel("paged_attention").paged_attention
    paged = PagedBatch.random([(0, 70)], (1, 3, 16), 16, torch.float32, kernel_device)
    whole = attention(paged.query, paged.key_cache, paged.value_cache, paged.batch, True)
    ragged = paged.batch.ragged
    assert ragged is not None
    for begin, end in [(0, 13), (13, 69), (69, 70)]:
        chunk = replace(
            ragged,
            row_starts=torch.tensor([0, end - begin], dtype=torch.int32, device=kernel_device),
            positions=torch.tensor([begin], dtype=torch.int32, device=kernel_device),
        )
        batch = replace(paged.batch, ragged=chunk)
        part = attention(paged.query[begin:end], paged.key_cache, paged.value_cache, batch, True)
        assert torch.equal(part, whole[begin:end])


def test_a_small_batch_over_long_contexts_splits_its_keys_and_a_large_one_does_not() -> None:
    def splits(rows: int, longest_tokens: int, exact: bool = False) -> int:
        return Launch.choose(rows, rows, (32, 8), 128, longest_tokens, exact, 132).splits

    assert splits(1, 8192) == MOST_SPLITS
    assert splits(1, 300) == 1
    assert splits(256, 8192) == 1
    assert splits(1, 8192, exact=True) == 1


def test_exact_launches_do_not_depend_on_the_batch() -> None:
    found = {
        (chosen.lanes, chosen.tile_tokens, chosen.splits)
        for chosen in (
            Launch.choose(rows, sequences, (9, 3), 64, 4096, True, 132)
            for rows, sequences in [(1, 1), (32, 32), (2048, 3), (700, 1)]
        )
    }
    assert len(found) == 1
