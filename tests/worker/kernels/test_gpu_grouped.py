"""Products with weights of each row's own, of experts and of adapters, against their references."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from worker.kernels.grouped_linear import reference as grouped_reference
from worker.kernels.lora import lora_shrink_expand

Kernel = Callable[[str], ModuleType]

DTYPES = [torch.float32, torch.float16]
TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.float16: {"rtol": 2e-3, "atol": 2e-2},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [[0, 0], [1], [0, 0, 0, 5], [17, 16, 33, 0], [0, 40, 0, 0, 1]],
    ids=str,
)
def test_each_group_of_rows_meets_its_own_weights(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    exact: bool,
    sizes: list[int],
) -> None:
    weights = (0.1 * torch.randn(len(sizes), 37, 150)).to(dtype).to(kernel_device)
    hidden = torch.randn(sum(sizes), 150).to(dtype).to(kernel_device)
    ends = torch.tensor(sizes, device=kernel_device).cumsum(0)
    found = gpu_kernel("grouped_linear").grouped_linear(hidden, weights, ends, exact)
    expected = grouped_reference.grouped_linear(hidden, weights, ends)
    torch.testing.assert_close(found, expected, **TOLERANCE[dtype])


def test_exact_rows_of_a_group_are_the_same_bits_in_any_company(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    grouped = gpu_kernel("grouped_linear").grouped_linear
    weights = torch.randn(3, 20, 100, device=kernel_device)
    hidden = torch.randn(90, 100, device=kernel_device)
    ends = torch.tensor([7, 7, 90], device=kernel_device)
    together = grouped(hidden, weights, ends, True)
    for row in (0, 6, 7, 89):
        alone = torch.tensor([1, 1, 1] if row < 7 else [0, 0, 1], device=kernel_device)
        assert torch.equal(grouped(hidden[row : row + 1], weights, alone, True)[0], together[row])


OWNERS = {
    "one row": [0],
    "none": [-1],
    "all different": [2, 0, -1, 1, 1, 0],
    "a prompt, then others, over two tiles": [1] * 18 + [-1] * 3 + [0] * 2 + [2],
}


@pytest.mark.parametrize(
    ("rank", "inputs", "dtype"),
    [(1, 33, torch.float32), (7, 1100, torch.float16), (40, 130, torch.float32)],
)
@pytest.mark.parametrize("owners", OWNERS.values(), ids=OWNERS.keys())
@pytest.mark.parametrize("where", ["kernel", "reference"])
def test_each_row_meets_its_own_adapter(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    rank: int,
    inputs: int,
    owners: list[int],
    where: str,
) -> None:
    a = (torch.randn(3, rank, inputs) / inputs**0.5).to(dtype)
    b, hidden = torch.randn(3, 50, rank).to(dtype), torch.randn(len(owners), inputs).to(dtype)
    scales = torch.tensor([0.5, 2.0, 1.0])
    call = [each.to(kernel_device) for each in (hidden, a, b, torch.tensor(owners), scales)]
    operation = gpu_kernel("lora").lora_shrink_expand if where == "kernel" else lora_shrink_expand
    found = operation(*call).double().cpu()
    for row, owner in enumerate(owners):
        narrow = (a[owner].double() @ hidden[row].double()).to(dtype).double()
        expected = b[owner].double() @ narrow * scales[owner].double() * (owner >= 0)
        torch.testing.assert_close(found[row], expected, **TOLERANCE[dtype])


# The broken adapter's products are meant to be.
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")
def test_a_row_is_untouched_by_a_neighbours_broken_adapter(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    a, b = torch.randn(2, 4, 40), torch.randn(2, 9, 4)
    hidden, scales = torch.randn(5, 40), torch.ones(2)
    owners = torch.tensor([0, 1, 0, -1, 1])
    expected = lora_shrink_expand(hidden, a, b, owners, scales)
    a[1], b[1] = torch.inf, torch.nan
    call = [each.to(kernel_device) for each in (hidden, a, b, owners, scales)]
    found = gpu_kernel("lora").lora_shrink_expand(*call).cpu()
    whole = owners != 1
    torch.testing.assert_close(found[whole], expected[whole], rtol=1e-4, atol=1e-5)
    assert not found[~whole].isfinite().any()


def test_a_rank_that_no_kernel_takes_is_refused(gpu_kernel: Kernel) -> None:
    call = (torch.ones(1, 8), torch.ones(1, 65, 8), torch.ones(1, 8, 65))
    for operation in (lora_shrink_expand, gpu_kernel("lora").lora_shrink_expand):
        with pytest.raises(ValueError, match="rank 65: 64 is the most"):
            operation(*call, torch.zeros(1, dtype=torch.int64), torch.ones(1))
