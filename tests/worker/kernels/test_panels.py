"""Weights in panels give the products of dense ones; a row's bits are its own in any company."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fixtures.requirements import missing
from worker.kernels.int8_linear import quantise_rows
from worker.kernels.native.toolchain import multiplies

DTYPES = [torch.float32, torch.bfloat16, torch.int8]
SHAPES = [(64, 96), (33, 50), (576, 200), (1, 1), (130, 31)]


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    dtype: torch.dtype = request.param
    if not multiplies(dtype):
        missing("panels", f"this machine has no instructions for products of {dtype}")
    return dtype


def panels(weight: Tensor, dtype: torch.dtype) -> Any:
    from worker.kernels.native.panels import PanelWeight

    panels = PanelWeight(*weight.shape, dtype)
    # In parts, as the tensors of a checkpoint come.
    for first in range(0, len(weight), 17):
        panels.fill(first, weight[first : first + 17])
    return panels


def grouped(values: Tensor, group: int) -> Tensor:
    """Values as they are after a round trip through int8 with a scale for each group of a row."""
    padded = torch.nn.functional.pad(values, (0, -values.shape[1] % group))
    whole, scales = quantise_rows(padded.view(-1, group))
    return (whole.double() * scales[:, None]).view(padded.shape)[:, : values.shape[1]]


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("rows", [1, 7, 29])
def test_the_product_is_that_of_the_dense_weight(
    dtype: torch.dtype, inputs: int, outputs: int, rows: int
) -> None:
    from worker.kernels.native.byte_tile import GROUP

    hidden, weight, bias = (
        torch.randn(rows, inputs),
        torch.randn(outputs, inputs),
        torch.randn(outputs),
    )
    if dtype == torch.bfloat16:
        hidden = hidden.to(dtype)
    seen, held = hidden.double(), weight.to(dtype if dtype.is_floating_point else weight.dtype)
    if dtype == torch.int8:
        seen, held = grouped(hidden, GROUP), grouped(weight, GROUP)
    expected = seen @ held.double().T + bias.double()
    product = panels(weight, dtype).product(hidden, bias, torch.float32)
    torch.testing.assert_close(product.double(), expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("output", [torch.float32, torch.bfloat16], ids=str)
def test_rows_are_the_same_bits_at_any_place(dtype: torch.dtype, output: torch.dtype) -> None:
    hidden = torch.randn(45, 300).to(torch.float32 if dtype == torch.float32 else torch.bfloat16)
    weight = panels(torch.randn(70, 300), dtype)
    together = weight.product(hidden, None, output)
    for first, last in [(0, 1), (44, 45), (3, 20), (8, 16), (30, 45)]:
        assert torch.equal(weight.product(hidden[first:last], None, output), together[first:last])


def test_a_row_that_is_not_finite_spoils_itself_alone(dtype: torch.dtype) -> None:
    hidden = torch.randn(9, 80).to(torch.float32 if dtype == torch.float32 else torch.bfloat16)
    weight = panels(torch.randn(40, 80), dtype)
    healthy = weight.product(hidden, None, torch.float32)
    hidden[2, 70], hidden[5, 3] = torch.nan, torch.inf
    product = weight.product(hidden, None, torch.float32)
    assert not product[[2, 5]].isfinite().any()
    others = [0, 1, 3, 4, 6, 7, 8]
    assert torch.equal(product[others], healthy[others])


def test_an_embedding_is_read_from_the_head_that_it_is_tied_to(dtype: torch.dtype) -> None:
    weight = torch.randn(50, 33)
    rows = panels(weight, dtype).rows(torch.tensor([49, 0, 31, 32]))
    tolerance = {torch.float32: 0.0, torch.bfloat16: 0.02, torch.int8: 0.02}[dtype]
    torch.testing.assert_close(rows.float(), weight[[49, 0, 31, 32]], rtol=0, atol=tolerance)


@pytest.mark.parametrize("source", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), [(130, 1100), (64, 2100), (33, 50), (1, 1)])
def test_a_weight_of_any_float_arrives_as_it_is_rounded(
    dtype: torch.dtype, source: torch.dtype, outputs: int, inputs: int
) -> None:
    weight = torch.randn(outputs, inputs).to(source)
    rows = panels(weight, dtype).rows(torch.arange(outputs)).double()
    if dtype == torch.int8:
        expected = (weight.float(), 64)
        assert torch.equal(rows.float(), grouped(*expected).float())
    else:
        assert torch.equal(rows, weight.to(dtype).double())


def test_int8_weights_lie_as_if_they_had_been_quantised_here(dtype: torch.dtype) -> None:
    from worker.kernels.int8_linear import dequantised
    from worker.kernels.native.panels import PanelWeight

    weight = torch.randn(100, 200)
    padded = torch.nn.functional.pad(weight, (0, -200 % 64))
    values, scales = (each.view(100, -1) for each in quantise_rows(padded.view(-1, 64)))
    values = values[:, :200].contiguous()
    given = PanelWeight(100, 200, dtype)
    given.fill_int8(0, values[:45], scales[:45])
    given.fill_int8(45, values[45:], scales[45:])
    made = panels(weight if dtype == torch.int8 else dequantised(values, scales), dtype)
    hidden = torch.randn(3, 200)
    if dtype == torch.bfloat16:
        hidden = hidden.to(dtype)
    products = [each.product(hidden, None, torch.float32) for each in (given, made)]
    assert torch.equal(*products)
