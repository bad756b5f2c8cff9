"""Sampling on the device chooses the tokens that the reference chooses."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from tests.worker.kernels.draws import MIXED, draw
from worker.kernels.sampling import FORBIDDEN, NOT_FINITE, NOTHING_ALLOWED, reference
from worker.kernels.sampling.truncation import ROWS_AT_ONCE, kept_tokens

Kernel = Callable[[str], ModuleType]


@pytest.mark.parametrize("vocabulary", [1, 3, 1024, 1025, 2500])
def test_a_mixed_batch(gpu_kernel: Kernel, kernel_device: torch.device, vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 3 * torch.randn(len(MIXED), vocabulary, generator=generator)
    logits[:, vocabulary // 2] = FORBIDDEN if vocabulary > 1 else 0.0
    found = gpu_kernel("sampling").choose(logits.to(kernel_device), MIXED)
    assert found.tolist() == reference.choose(logits, MIXED).tolist()


def test_many_draws_of_one_row(gpu_kernel: Kernel, kernel_device: torch.device) -> None:
    logits = torch.zeros(60, 1500)
    draws = [draw(seed=3, index=index) for index in range(60)]
    found = gpu_kernel("sampling").choose(logits.to(kernel_device), draws).tolist()
    assert found == reference.choose(logits, draws).tolist()
    assert len(set(found)) > 40


def test_greedy_takes_the_first_of_the_largest_across_tiles(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    logits = torch.zeros(2, 3000, device=kernel_device)
    logits[0, [1500, 2900]] = 1
    greedy = [draw(temperature=0)] * 2
    assert gpu_kernel("sampling").choose(logits, greedy).tolist() == [1500, 0]


def test_a_row_that_is_not_finite_has_no_token_and_its_neighbours_have(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    logits = torch.zeros(5, 2100, device=kernel_device)
    logits[1, 2000], logits[2, 3], logits[3, 2099] = torch.nan, torch.inf, -torch.inf
    logits[0, 7] = logits[4, 2050] = 50.0
    for settings in ({"temperature": 0.0}, {}, {"top_k": 2}):
        found = gpu_kernel("sampling").choose(logits, [draw(**settings)] * 5)
        assert found.tolist() == [7, NOT_FINITE, NOT_FINITE, NOT_FINITE, 2050]


def test_a_row_in_which_nothing_is_allowed_has_no_token(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    logits = torch.full((2, 2100), FORBIDDEN, device=kernel_device)
    logits[1, 2000] = -3.0
    for settings in ({"temperature": 0.0}, {}, {"top_k": 2}):
        found = gpu_kernel("sampling").choose(logits, [draw(**settings)] * 2)
        assert found.tolist() == [NOTHING_ALLOWED, 2000]


def test_no_rows_have_no_tokens(gpu_kernel: Kernel, kernel_device: torch.device) -> None:
    found = gpu_kernel("sampling").choose(torch.zeros(0, 10, device=kernel_device), [])
    assert found.tolist() == []


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
