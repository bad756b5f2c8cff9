"""The row-wise operations do what their papers say; in exact mode a row's bits are its own."""

from __future__ import annotations

import pytest
import torch

from worker.kernels.linear import linear
from worker.kernels.rms_norm import rms_norm
from worker.kernels.rope import rotate_and_store
from worker.kernels.swiglu import geglu, swiglu

DTYPES = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 96), (33, 50), (576, 200)])
def test_exact_rows_are_the_same_bits_at_any_place(
    dtype: torch.dtype, inputs: int, outputs: int
) -> None:
    hidden, weight = torch.randn(37, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    together = linear(hidden, weight, exact=True)
    torch.testing.assert_close(together, linear(hidden, weight), rtol=2e-2, atol=2e-2)
    for first, last in [(0, 1), (5, 6), (36, 37), (3, 20), (8, 16)]:
        assert torch.equal(linear(hidden[first:last], weight, exact=True), together[first:last])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_geglu_rows_are_the_same_bits_at_any_place(dtype: torch.dtype) -> None:
    hidden = torch.randn(29, 2 * 45).to(dtype)
    together = geglu(hidden, exact=True)
    gate, up = hidden.double().chunk(2, dim=-1)
    inner = (2 / torch.pi) ** 0.5 * (gate + 0.044715 * gate**3)
    expected = (0.5 * gate * (1 + inner.tanh()) * up).to(dtype)
    torch.testing.assert_close(together, expected, rtol=2e-2, atol=1e-2)
    torch.testing.assert_close(geglu(hidden), expected, rtol=2e-2, atol=1e-2)
    for row in range(29):
        assert torch.equal(geglu(hidden[row : row + 1], exact=True)[0], together[row])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_swiglu_rows_are_the_same_bits_at_any_place(dtype: torch.dtype) -> None:
    hidden = torch.randn(29, 2 * 45).to(dtype)
    together = swiglu(hidden, exact=True)
    gate, up = hidden.float().chunk(2, dim=-1)
    expected = (gate * torch.sigmoid(gate) * up).to(dtype)
    torch.testing.assert_close(together, expected, rtol=2e-2, atol=1e-2)
    torch.testing.assert_close(swiglu(hidden), expected, rtol=2e-2, atol=1e-2)
    for row in range(29):
        assert torch.equal(swiglu(hidden[row : row + 1], exact=True)[0], together[row])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_adds_the_residual_and_rows_are_independent(dtype: torch.dtype) -> None:
    hidden, residual = torch.randn(2, 19, 45).to(dtype)
    weight = torch.randn(45).to(dtype)
    output, total = rms_norm(hidden, weight, 1e-5, residual)
    assert torch.equal(total, hidden + residual)
    wide = total.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    torch.testing.assert_close(output.double(), expected, rtol=2e-2, atol=2e-2)
    for row in range(19):
        part = slice(row, row + 1)
        assert torch.equal(rms_norm(hidden[part], weight, 1e-5, residual[part])[0][0], output[row])


def test_a_shifted_weight_is_not_rounded_before_the_product() -> None:
    hidden = torch.randn(4, 45).to(torch.bfloat16)
    weight = torch.full((45,), 1e-3, dtype=torch.bfloat16)
    output, _ = rms_norm(hidden, weight, 1e-6, shift=1.0)
    wide = hidden.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + weight.double())
    assert torch.equal(output, expected.float().to(torch.bfloat16))


def test_rope_keeps_lengths_and_makes_scores_depend_on_distance_only() -> None:
    angles = torch.outer(torch.arange(40.0), torch.tensor([1.0, 0.1, 0.01]))
    cache = torch.zeros(2, 1, 4, 10, 6)
    query, key = torch.randn(1, 1, 6).expand(40, 1, 6), torch.randn(1, 1, 6).expand(40, 1, 6)
    slots = torch.arange(40)
    rotation = (angles.cos(), angles.sin())
    turned = rotate_and_store(query, key, key, rotation, slots, cache[0], cache[1])
    keys = cache[0].view(40, 6)
    torch.testing.assert_close(keys.norm(dim=-1), key[:, 0].norm(dim=-1))
    scores = turned[:, 0] @ keys.T
    torch.testing.assert_close(scores[5, 2], scores[33, 30], rtol=1e-4, atol=1e-4)
    assert (scores[5, 2] - scores[5, 4]).abs() > 1e-3


def test_keys_and_values_land_in_their_slots_and_nowhere_else() -> None:
    cache = torch.zeros(2, 2, 3, 4, 6)
    key, value = torch.randn(2, 3, 2, 6)
    still = (torch.ones(3, 3), torch.zeros(3, 3))
    slots = torch.tensor([4, 11, 6])
    rotate_and_store(key, key, value, still, slots, cache[0], cache[1])
    for row, slot in enumerate(slots.tolist()):
        assert torch.equal(cache[0, :, slot // 4, slot % 4], key[row])
        assert torch.equal(cache[1, :, slot // 4, slot % 4], value[row])
    assert int((cache != 0).any(-1).sum()) == 2 * 2 * 3
