"""Each group of rows meets its own weights; in exact mode a row's bits are its own."""

from __future__ import annotations

import pytest
import torch

from worker.kernels.grouped_linear import grouped_linear


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("sizes", [[3, 0, 11, 1], [0, 0, 0, 5], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_a_row_is_multiplied_by_the_weights_of_its_group(sizes: list[int], exact: bool) -> None:
    weights = torch.randn(4, 7, 33)
    groups = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    hidden = torch.randn(len(groups), 33)
    output = grouped_linear(hidden, weights, torch.tensor(sizes).cumsum(0), exact)
    expected = torch.einsum("ri,roi->ro", hidden, weights[groups])
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exact_rows_are_the_same_bits_in_any_company(dtype: torch.dtype) -> None:
    weights, hidden = torch.randn(2, 50, 64).to(dtype), torch.randn(21, 64).to(dtype)
    together = grouped_linear(hidden, weights, torch.tensor([20, 21]), exact=True)
    for row in range(20):
        alone = grouped_linear(hidden[row : row + 1], weights, torch.tensor([1, 1]), exact=True)
        assert torch.equal(alone[0], together[row])
