"""What this device can do at most, measured: the bandwidth of a copy and the rate of a product."""

from __future__ import annotations

from statistics import median

import torch

from loadtests.benchmarks.gpu.device_timer import timer_of
from loadtests.benchmarks.gpu.size import Size


def copy_bytes_per_s(size: Size, device: torch.device) -> float:
    """Bytes read plus bytes written, of a copy that no cache holds."""
    source = torch.empty(size.copy_bytes, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    seconds = timer_of(device).seconds([lambda: target.copy_(source)], size.rounds)
    return 2 * size.copy_bytes / median(seconds)


def product_flops(size: Size, device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square product of random matrices."""
    width = size.product_width
    left, right = torch.randn(2, width, width, device=device).to(dtype)
    seconds = timer_of(device).seconds([lambda: left @ right], size.rounds)
    return 2 * width**3 / median(seconds)
