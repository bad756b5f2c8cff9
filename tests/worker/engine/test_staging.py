"""Arrays arrive as they were sent, each at a place that the ones behind it do not move."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.engine.staging import ALIGNMENT_BYTES, Staging, StagingFull


def test_arrays_of_any_shape_and_type_arrive(kernel_device: torch.device) -> None:
    staging = Staging(1024, kernel_device)
    arrays = [
        np.arange(3, dtype=np.int64),
        np.zeros(0, np.int64),
        np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::-1],
        np.arange(5, dtype=np.int64),
    ]
    for array, sent in zip(arrays, staging.send(arrays), strict=True):
        assert sent.device.type == kernel_device.type
        assert sent.data_ptr() % ALIGNMENT_BYTES == 0
        assert np.array_equal(sent.cpu().numpy(), array)


def test_later_sends_overwrite_earlier_ones_in_the_same_places() -> None:
    staging = Staging(1024, torch.device("cpu"))
    first, _ = staging.send([np.array([1, 2]), np.zeros(9, np.int32)])
    for value in range(5):
        staging.send([np.array([value, -value]), np.zeros(value, np.int32)])
        assert first.tolist() == [value, -value]


def test_more_than_fits_is_refused() -> None:
    with pytest.raises(StagingFull, match="32 fit"):
        Staging(32, torch.device("cpu")).send([np.zeros(5, np.int64)])
