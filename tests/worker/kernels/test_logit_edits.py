"""Penalties, masks and log-probabilities, on the CPU and by the kernels of a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from worker.kernels.logprobs import likelihoods
from worker.kernels.penalties import Penalty
from worker.kernels.penalties import reference as penalties
from worker.kernels.sampling import FORBIDDEN
from worker.kernels.token_mask import reference as token_mask

ODD = (1, 33, 1024, 1500)
NEAR = {"rtol": 1e-4, "atol": 1e-5}
Kernel = Callable[[str], ModuleType]


@pytest.fixture(params=["reference", "gpu"])
def operation(request: pytest.FixtureRequest) -> Callable[[str, Any], Any]:
    """An operation of either kind, by its folder."""

    def of(name: str, reference: Any) -> Any:
        kernel: Kernel = request.getfixturevalue("gpu_kernel")
        return reference if request.param == "reference" else kernel(name)

    return of


def test_penalties_are_those_of_ctrl_and_openai(operation: Any, kernel_device: Any) -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    counts = torch.tensor([[0, 0, 3, 1, 0]], dtype=torch.int32)
    in_prompt = torch.tensor([[True, True, False, True, False]])
    expected = [2 / 4, -2 * 4, 2 / 4 - 3 * 0.5 - 0.25, 2 / 4 - 0.5 - 0.25, 1]
    logits, counts, in_prompt = (each.to(kernel_device) for each in (logits, counts, in_prompt))
    penalize = operation("penalties", penalties).penalize
    penalize(logits, [0], counts, in_prompt, [Penalty(4.0, 0.5, 0.25)])
    assert logits[0].tolist() == pytest.approx(expected)
    assert logits[1].tolist() == [1.0] * 5, "the neighbour"


@pytest.mark.parametrize("vocabulary", ODD)
def test_the_penalty_kernel_is_the_reference(
    gpu_kernel: Kernel, kernel_device: torch.device, vocabulary: int
) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(4, vocabulary, generator=generator)
    logits[0, 0] = torch.nan
    counts = torch.randint(0, 3, (3, vocabulary), generator=generator).int()
    in_prompt = torch.rand(3, vocabulary, generator=generator) < 0.3
    settings = [Penalty(1.3, 0.0, 0.0), Penalty(1.0, 0.7, -0.4), Penalty(0.5, -1.0, 2.0)]
    found = logits.clone().to(kernel_device)
    arguments = [3, 0, 2], counts.to(kernel_device), in_prompt.to(kernel_device), settings
    gpu_kernel("penalties").penalize(found, *arguments)
    penalties.penalize(logits, [3, 0, 2], counts, in_prompt, settings)
    torch.testing.assert_close(found.cpu(), logits, equal_nan=True)


def packed(allowed: torch.Tensor) -> torch.Tensor:
    rows, vocabulary = allowed.shape
    words = torch.zeros(rows, -(-vocabulary // 32), dtype=torch.int64)
    for row, token in allowed.nonzero().tolist():
        words[row, token // 32] |= 1 << (token % 32)
    return words.where(words < 1 << 31, words - (1 << 32)).int()


@pytest.mark.parametrize("vocabulary", ODD)
def test_a_mask_forbids_exactly_what_it_leaves_out(
    operation: Any, kernel_device: torch.device, vocabulary: int
) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(4, vocabulary, generator=generator)
    allowed = torch.rand(4, vocabulary, generator=generator) < 0.4
    allowed[1], allowed[2] = True, False
    mask = packed(allowed)
    mask[1] = -1
    found = logits.clone().to(kernel_device)
    operation("token_mask", token_mask).apply_mask(found, mask.to(kernel_device))
    assert torch.equal(found.cpu(), logits.where(allowed, torch.tensor(FORBIDDEN)))


def test_what_is_not_finite_is_seen_behind_a_mask(operation: Any, kernel_device: Any) -> None:
    logits = torch.tensor([[math.nan, math.inf, -math.inf, 1.0]], device=kernel_device)
    mask = torch.zeros(1, 1, dtype=torch.int32, device=kernel_device)
    operation("token_mask", token_mask).apply_mask(logits, mask)
    assert logits[0].isfinite().tolist() == [False, False, False, True]
    assert logits[0, 3] == FORBIDDEN


def test_likelihoods_are_the_log_softmax() -> None:
    logits = 5 * torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    expected = logits.double().log_softmax(dim=-1)
    tokens = torch.tensor([7, 39, -1])
    found = likelihoods(logits, tokens, 4)
    rows = torch.arange(2)
    torch.testing.assert_close(found.of_tokens[:2].double(), expected[rows, tokens[:2]], **NEAR)
    top = expected.topk(4, dim=-1)
    assert torch.equal(found.top_tokens, top.indices)
    torch.testing.assert_close(found.top.double(), top.values, **NEAR)
    order = expected[:2].argsort(dim=-1, descending=True)
    places = [order[row].tolist().index(tokens[row]) + 1 for row in range(2)]
    assert found.ranks[:2].tolist() == places
    assert likelihoods(logits, tokens, 0).top.shape == (3, 0)
    assert likelihoods(logits, tokens, 99).top.shape == (3, 40)
