"""A few numbers of the host on a device, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def upload(
    values: Tensor | Sequence[int | float | Sequence[int | float]],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """A tensor of them there.

    From pinned memory: a copy from any other makes the host wait for all that the device has been
    given to do, and so ends whatever runs ahead of it.
    """
    host = torch.as_tensor(values, dtype=dtype)
    if device.type == "cuda":
        host = host.pin_memory()
    return host.to(device, non_blocking=True)
