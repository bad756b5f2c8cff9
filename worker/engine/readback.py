"""Small results on their way to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class Readback:
    """Copies of tensors as they are when everything queued so far has run."""

    def __init__(self, *tensors: Tensor) -> None:
        self._host = [_host_copy(tensor) for tensor in tensors]
        self._copied: torch.cuda.Event | None = None
        if any(tensor.is_cuda for tensor in tensors):
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def read(self) -> list[Tensor]:
        """Waits for what gives the tensors, and for nothing queued after it."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host


def _host_copy(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor
    # Pinned, or the copy would make the host wait here.
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
