"""An operation runs where its tensors are."""

from __future__ import annotations

import sys

import pytest
import torch

from worker.kernels import device
from worker.kernels.device import TritonMissingError, by_device
from worker.kernels.rms_norm import cpu, reference


class OnGpu(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True


def test_a_cpu_tensor_runs_the_reference_and_needs_no_triton(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    row, weight = torch.ones(1, 4), torch.ones(4)
    found = by_device(reference.rms_norm)(row, weight, 0.0)
    torch.testing.assert_close(found[0], row)


def test_without_numba_the_reference_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available", lambda: False)
    operation = by_device(reference.rms_norm)
    monkeypatch.setattr(cpu, "rms_norm", None)
    row = torch.ones(1, 4)
    torch.testing.assert_close(operation(row, torch.ones(4), 0.0)[0], row)


def test_a_gpu_tensor_without_triton_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    row = torch.ones(1, 4).as_subclass(OnGpu)
    with pytest.raises(TritonMissingError, match=r"\[gpu\]"):
        by_device(reference.rms_norm)(row, torch.ones(4), 0.0)
