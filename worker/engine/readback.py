"""Small results on their way to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class Readback:
    """A copy of a tensor of integers as it is now, where everything queued so far has run."""

    def __init__(self, tensor: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        self._host = tensor
        if tensor.is_cuda:
            # Pinned, or the copy would make the host wait here.
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def read(self) -> list[int]:
        """Waits for what gives the tensor, and for nothing queued after it."""
        if self._copied is not None:
            self._copied.synchronize()
        values: list[int] = self._host.tolist()
        return values
