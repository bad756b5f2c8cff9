from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.importer.errors import Unsupported
from control_plane.importer.packing.floats import converted, widened
from tests.fixtures.requirements import imported


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=200))
def test_bfloat16_has_the_bits_that_torch_gives(bits: list[int]) -> None:
    torch = imported("torch")
    wide = np.array(bits, np.uint32).view(np.float32)
    # Torch's own two paths differ in a NaN's payload.
    numbers = wide[np.isfinite(wide) & (np.abs(wide) < np.float32(3.38e38))]
    expected = torch.from_numpy(numbers.copy()).to(torch.bfloat16).view(torch.int16).numpy()
    found = converted(numbers, "F32", "BF16", "t")
    assert np.array_equal(found, expected.view(np.uint16))


def test_what_is_not_finite_stays_so() -> None:
    wide = np.array([np.nan, np.inf, -np.inf], np.float32)
    for dtype in ("BF16", "F16"):
        assert np.array_equal(widened(converted(wide, "F32", dtype, "t"), dtype), wide, True)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_narrow_number_widens_and_comes_back(dtype: str) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    narrow = bits if dtype == "BF16" else bits.view(np.float16)
    wide = widened(narrow, dtype)
    back = converted(wide, "F32", dtype, "t").view(np.uint16)
    assert np.array_equal(back[~np.isnan(wide)], bits[~np.isnan(wide)])


def test_float16_is_torch_s_too() -> None:
    torch = imported("torch")
    wide = np.random.default_rng(5).standard_normal(5000, dtype=np.float32) * np.float32(1e-5)
    expected = torch.from_numpy(wide).to(torch.float16).numpy()
    assert np.array_equal(converted(wide, "F32", "F16", "t"), expected)


def test_a_number_that_float16_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"'big'.*bfloat16 or float32"):
        converted(np.array([7e4], np.float32), "F32", "F16", "big")
