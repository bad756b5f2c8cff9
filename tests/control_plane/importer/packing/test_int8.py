from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from control_plane.importer.packing.int8 import quantised
from infra.package_tensors import SCALE_GROUP
from tests.fixtures.requirements import imported

_FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def _reference(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], ...]:
    torch = imported("torch")
    from worker.kernels.int8_linear.reference import quantise_rows

    outputs, inputs = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -inputs % SCALE_GROUP)))
    values, scales = quantise_rows(torch.from_numpy(padded).view(-1, SCALE_GROUP))
    return values.view(outputs, -1)[:, :inputs].numpy(), scales.view(outputs, -1).numpy()


def _assert_same(weight: npt.NDArray[np.float32]) -> None:
    for ours, theirs in zip(quantised(weight), _reference(weight), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")


@settings(max_examples=200, deadline=None)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 130)), elements=_FLOATS)
)
def test_any_weight_is_quantised_as_the_worker_does(weight: npt.NDArray[np.float32]) -> None:
    _assert_same(weight)


@pytest.mark.parametrize("inputs", [64, 576, 96, 1])
def test_weights_of_usual_size_are_quantised_as_the_worker_does(inputs: int) -> None:
    noise = np.random.default_rng(3)
    _assert_same(noise.standard_normal((200, inputs), dtype=np.float32) * np.float32(0.02))


def test_a_half_is_rounded_to_the_even_neighbour() -> None:
    weight = np.zeros((1, 64), np.float32)
    weight[0, :4] = 127, 0.5, 1.5, -2.5
    values, scales = quantised(weight)
    assert values[0, :4].tolist() == [127, 0, 2, -2]
    assert scales.tolist() == [[1.0]]
