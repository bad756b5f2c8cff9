"""The Triton products give what their references give; an exact row is the same in any company."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from worker.kernels import tiling
from worker.kernels.fp8_linear import quantise_fp8
from worker.kernels.fp8_linear import reference as fp8_reference
from worker.kernels.int4_linear import quantise_int4
from worker.kernels.int4_linear import reference as int4_reference
from worker.kernels.int8_linear import reference as int8_reference
from worker.kernels.linear import reference as linear_reference
from worker.kernels.tiling import Tiling

Kernel = Callable[[str], ModuleType]
Product = Callable[[Tensor], Tensor]

DTYPES = [torch.float32, torch.float16]
TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.float16: {"rtol": 2e-3, "atol": 1e-2},
}
SHAPES = [(0, 32, 8), (1, 33, 5), (17, 130, 65), (70, 64, 130), (1, 2100, 10)]
"""Rows, inputs and outputs; the last is a decode whose inputs are cut into segments."""


def int8_weight(outputs: int, inputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
    return weight.to(device), torch.rand(outputs).to(device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_int8_rows_are_the_bits_of_the_reference(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    rows: int,
    inputs: int,
    outputs: int,
) -> None:
    hidden = (5 * torch.randn(rows, inputs)).to(dtype).to(kernel_device)
    call = (hidden, *int8_weight(outputs, inputs, kernel_device))
    found = gpu_kernel("int8_linear").int8_linear(*call)
    assert torch.equal(found, int8_reference.int8_linear(*call))


# Infinity times the inverse of its scale, 0, is the NaN that is meant.
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_an_int8_row_that_is_not_finite_stays_visible_and_alone(
    gpu_kernel: Kernel, kernel_device: torch.device, broken: float
) -> None:
    hidden = torch.randn(3, 40, device=kernel_device)
    hidden[1, 7] = broken
    hidden[2] = 0
    call = (hidden, *int8_weight(9, 40, kernel_device))
    for module in (gpu_kernel("int8_linear"), int8_reference):
        output = module.int8_linear(*call)
        assert output[1].isnan().all()
        assert output[0].isfinite().all()
        assert not output[2].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_fp8_weights(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    exact: bool,
    rows: int,
    inputs: int,
    outputs: int,
) -> None:
    hidden = torch.randn(rows, inputs).to(dtype).to(kernel_device)
    weight = (0.1 * torch.randn(outputs, inputs)).to(kernel_device)
    weight[0] = 0
    call = (hidden, *quantise_fp8(weight), exact)
    found = gpu_kernel("fp8_linear").fp8_linear(*call)
    torch.testing.assert_close(found, fp8_reference.fp8_linear(*call), **TOLERANCE[dtype])


def test_every_finite_e4m3_is_widened_to_its_value(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    codes = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    codes = codes[(codes & 0x7F) != 0x7F].to(kernel_device)
    weight = codes.view(torch.float8_e4m3fn)[:, None].expand(-1, 16).contiguous()
    unit = torch.eye(16, device=kernel_device)[:1]
    ones = torch.ones(len(codes), device=kernel_device)
    found = gpu_kernel("fp8_linear").fp8_linear(unit, weight, ones)
    assert torch.equal(found[0], weight[:, 0].float())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "group"),
    [(0, 64, 3, 32), (1, 64, 5, 64), (70, 96, 65, 32), (5, 1280, 3, 128)],
)
def test_int4_weights(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    exact: bool,
    rows: int,
    inputs: int,
    outputs: int,
    group: int,
) -> None:
    hidden = torch.randn(rows, inputs).to(dtype).to(kernel_device)
    weight = (0.1 * torch.randn(outputs, inputs) + 0.05).to(kernel_device)
    call = (hidden, *quantise_int4(weight, group), exact)
    found = gpu_kernel("int4_linear").int4_linear(*call)
    torch.testing.assert_close(found, int4_reference.int4_linear(*call), **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_the_exact_product(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    rows: int,
    inputs: int,
    outputs: int,
) -> None:
    hidden = torch.randn(rows, inputs).to(dtype).to(kernel_device)
    weight = (0.1 * torch.randn(outputs, inputs)).to(dtype).to(kernel_device)
    found = gpu_kernel("linear").linear(hidden, weight, True)
    torch.testing.assert_close(found, linear_reference.linear(hidden, weight), **TOLERANCE[dtype])


@pytest.fixture(params=["linear", "int8_linear", "fp8_linear", "int4_linear"])
def exact_product(
    request: pytest.FixtureRequest, gpu_kernel: Kernel, kernel_device: torch.device
) -> Product:
    """The exact product of rows with 1,280 inputs."""
    name = request.param
    weight = torch.randn(5, 1280, device=kernel_device)
    held = {
        "linear": lambda: (weight,),
        "int8_linear": lambda: int8_weight(5, 1280, kernel_device),
        "fp8_linear": lambda: quantise_fp8(weight),
        "int4_linear": lambda: quantise_int4(weight, 128),
    }[name]()
    function = getattr(gpu_kernel(name), name)
    # Int8 knows no other product than the exact one.
    more = () if name == "int8_linear" else (True,)
    return lambda hidden: function(hidden, *held, *more)


def test_exact_rows_are_the_same_bits_in_any_company_and_whoever_adds_their_segments(
    exact_product: Product, kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two tiles of rows are many here, so a program takes all segments of them.
    monkeypatch.setattr(tiling, "PROCESSORS", 1)
    hidden = torch.randn(70, 1280, device=kernel_device)
    alone, together = (Tiling.choose(rows, 5, 1280, exact=True) for rows in (1, 70))
    assert alone.segments == together.segments == alone.programs == 2
    assert together.programs == 1
    both = exact_product(hidden)
    for first, last in [(0, 1), (69, 70), (3, 21)]:
        assert torch.equal(exact_product(hidden[first:last]), both[first:last])


def test_exact_tilings_follow_from_the_weight_alone() -> None:
    for outputs, inputs in [(4096, 4096), (128256, 4096), (576, 1536)]:
        found = {
            (tiling.tile, tiling.segments)
            for tiling in (Tiling.choose(rows, outputs, inputs, True) for rows in (1, 33, 4096))
        }
        assert len(found) == 1


def test_a_decode_cuts_its_inputs_where_the_device_would_idle_and_a_prompt_does_not() -> None:
    assert Tiling.choose(1, 4096, 4096).programs > 1
    assert Tiling.choose(1, 128256, 4096).programs == 1
    assert Tiling.choose(1, 4096, 576).programs == 1
    assert Tiling.choose(4096, 4096, 4096).programs == 1
