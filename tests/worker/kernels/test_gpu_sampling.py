"""Sampling on the device chooses the tokens that the reference chooses."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from worker.kernels.sampling import Draw, reference
from worker.kernels.sampling.truncation import ROWS_AT_ONCE, kept_tokens

Kernel = Callable[[str], ModuleType]


def draw(
    temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0, index: int = 0
) -> Draw:
    return Draw(temperature, top_k, top_p, seed, 0, index)


MIXED = [
    draw(temperature=0),
    draw(seed=-1),
    draw(temperature=0.3, seed=1 << 62),
    draw(top_k=5, index=7),
    draw(top_p=0.4, index=8),
    draw(temperature=2.5, top_k=700, top_p=0.9, index=1 << 20),
    draw(top_k=1),
    draw(top_p=1e-9),
    draw(top_k=1 << 30, top_p=0.999),
    draw(temperature=1e-30),
]


@pytest.mark.parametrize("vocabulary", [1, 3, 1024, 1025, 2500])
def test_a_mixed_batch(gpu_kernel: Kernel, kernel_device: torch.device, vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 3 * torch.randn(len(MIXED), vocabulary, generator=generator)
    found = gpu_kernel("sampling").sample(logits.to(kernel_device), MIXED)
    assert found == reference.sample(logits, MIXED)


def test_many_draws_of_one_row(gpu_kernel: Kernel, kernel_device: torch.device) -> None:
    logits = torch.zeros(60, 1500)
    draws = [draw(seed=3, index=index) for index in range(60)]
    found = gpu_kernel("sampling").sample(logits.to(kernel_device), draws)
    assert found == reference.sample(logits, draws)
    assert len(set(found)) > 40


def test_greedy_takes_the_first_of_the_largest_across_tiles(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    logits = torch.zeros(2, 3000, device=kernel_device)
    logits[0, [1500, 2900]] = 1
    greedy = [draw(temperature=0)] * 2
    assert gpu_kernel("sampling").sample(logits, greedy) == [1500, 0]


def test_a_row_that_is_not_finite_has_no_token_and_its_neighbours_have(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    logits = torch.zeros(5, 2100, device=kernel_device)
    logits[1, 2000], logits[2, 3], logits[3, 2099] = torch.nan, torch.inf, -torch.inf
    logits[0, 7] = logits[4, 2050] = 50.0
    for settings in ({"temperature": 0.0}, {}, {"top_k": 2}):
        found = gpu_kernel("sampling").sample(logits, [draw(**settings)] * 5)
        assert found == [7, None, None, None, 2050]


def test_no_rows_have_no_tokens(gpu_kernel: Kernel, kernel_device: torch.device) -> None:
    assert gpu_kernel("sampling").sample(torch.zeros(0, 10, device=kernel_device), []) == []


def test_truncation_keeps_the_same_tokens_in_any_batch() -> None:
    rows = ROWS_AT_ONCE + 3
    logits = torch.randn(rows, 50, generator=torch.Generator().manual_seed(0))
    draws = [draw(top_k=row % 7, top_p=0.2 + 0.8 * (row % 2)) for row in range(rows)]
    together = kept_tokens(logits, draws)
    for row in range(rows):
        assert torch.equal(
            kept_tokens(logits[row : row + 1], draws[row : row + 1])[0], together[row]
        )
    assert together.sum(dim=1).min() >= 1
    assert int(together[1].sum()) == 1, "top_k=1"
    assert int(together[7].sum()) == 50, "nothing is truncated"
