"""Weights of four bits come back from their bytes, and are as near as 16 steps allow."""

from __future__ import annotations

import pytest
import torch

from worker.kernels.int4_linear import int4_linear, pack_int4, quantise_int4, unpack_int4


@pytest.mark.parametrize("group", [32, 64, 128])
def test_codes_come_back_and_take_half_a_byte(group: int) -> None:
    codes = torch.randint(0, 16, (5, 384), dtype=torch.uint8)
    packed = pack_int4(codes, group)
    assert packed.shape == (5, 192)
    assert torch.equal(unpack_int4(packed, group), codes)


def test_the_halves_of_a_group_share_its_bytes() -> None:
    codes = torch.arange(64, dtype=torch.uint8)[None] % 16
    packed = pack_int4(codes, 64)
    assert packed[0, 3] == codes[0, 3] | codes[0, 35] << 4


@pytest.mark.parametrize(("inputs", "group"), [(96, 64), (96, 48), (64, 0)])
def test_a_group_that_does_not_fit_says_which_do(inputs: int, group: int) -> None:
    with pytest.raises(ValueError, match="use one of"):
        quantise_int4(torch.ones(2, inputs), group)


@pytest.mark.parametrize("offset", [-3.0, 0.0, 3.0])
def test_a_weight_is_within_half_a_step_and_zero_is_exact(offset: float) -> None:
    weight = torch.randn(6, 128) + offset
    weight[2] = 0
    weight[3, 5] = 0
    packed, scales, zeros = quantise_int4(weight, 64)
    rows = torch.eye(128)
    found = int4_linear(rows, packed, scales, zeros).T
    step = scales.repeat_interleave(64, dim=1)
    assert ((found - weight).abs() <= step * 0.5001 + step * 0.5 * (offset != 0)).all()
    assert not found[2].any()
    assert found[3, 5] == 0
