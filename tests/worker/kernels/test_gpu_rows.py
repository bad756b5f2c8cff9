"""The row-wise Triton kernels give what their references give."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from worker.kernels.rms_norm import reference as rms_norm_reference
from worker.kernels.rope import reference as rope_reference
from worker.kernels.swiglu import reference as swiglu_reference

# exp(-x) may be infinite: 1 / (1 + inf) is the 0 that is meant.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

Kernel = Callable[[str], ModuleType]

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
TOLERANCE = {
    torch.float32: {"rtol": 1e-5, "atol": 2e-6},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
    torch.bfloat16: {"rtol": 1.6e-2, "atol": 1e-2},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width"), [(0, 64), (1, 1), (1, 576), (5, 45), (3, 1024)])
@pytest.mark.parametrize(("adds", "shift"), [(False, 0.0), (True, 0.0), (True, 1.0)])
def test_rms_norm(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    rows: int,
    width: int,
    adds: bool,
    shift: float,
) -> None:
    hidden, residual = torch.randn(2, rows, width).to(dtype).to(kernel_device)
    weight = torch.randn(width).to(dtype).to(kernel_device)
    call = (hidden, weight, 1e-5, residual if adds else None, shift)
    found = gpu_kernel("rms_norm").rms_norm(*call)
    expected = rms_norm_reference.rms_norm(*call)
    # One step of the dtype: the interpreter truncates to bf16 where a GPU rounds.
    step = 2**-7 if dtype == torch.bfloat16 else 0.0
    torch.testing.assert_close(found[1], expected[1], rtol=step, atol=0.0)
    # Where sums differ by a step, so do products, each of which is rounded once more.
    least = {**TOLERANCE[dtype], "rtol": max(TOLERANCE[dtype]["rtol"], 3 * step)}
    torch.testing.assert_close(found[0], expected[0], **least)


def test_rms_norm_of_heads(gpu_kernel: Kernel, kernel_device: torch.device) -> None:
    heads, weight = torch.randn(4, 3, 20).to(kernel_device), torch.randn(20).to(kernel_device)
    found = gpu_kernel("rms_norm").rms_norm(heads.transpose(0, 1), weight, 1e-6)
    expected = rms_norm_reference.rms_norm(heads.transpose(0, 1), weight, 1e-6)
    torch.testing.assert_close(found[0], expected[0], **TOLERANCE[torch.float32])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["swiglu", "geglu"])
@pytest.mark.parametrize(("rows", "width"), [(0, 8), (1, 1), (3, 1025), (2, 1024)])
def test_gated_activations(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    name: str,
    rows: int,
    width: int,
) -> None:
    gate_and_up = (4 * torch.randn(rows, 2 * width)).to(dtype).to(kernel_device)
    found = getattr(gpu_kernel("swiglu"), name)(gate_and_up)
    expected = getattr(swiglu_reference, name)(gate_and_up)
    torch.testing.assert_close(found, expected, **TOLERANCE[dtype])


def test_gated_activations_survive_the_ends_of_their_dtype(
    gpu_kernel: Kernel, kernel_device: torch.device
) -> None:
    gate = torch.tensor([[-6e4, 6e4, -90.0, 90.0, 0.0]], device=kernel_device)
    both = torch.cat([gate, torch.ones_like(gate)], dim=-1)
    for name in ("swiglu", "geglu"):
        found = getattr(gpu_kernel("swiglu"), name)(both)
        torch.testing.assert_close(found, getattr(swiglu_reference, name)(both))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "kv_heads", "group", "width"),
    [(0, 1, 1, 8), (1, 1, 1, 2), (3, 2, 3, 20), (4, 3, 4, 64)],
)
def test_rope_and_the_write_into_the_cache(
    gpu_kernel: Kernel,
    kernel_device: torch.device,
    dtype: torch.dtype,
    rows: int,
    kv_heads: int,
    group: int,
    width: int,
) -> None:
    block_tokens, blocks = 3, 4
    heads = [kv_heads * group, kv_heads, kv_heads]
    fused = torch.randn(rows, sum(heads) * width).to(dtype).to(kernel_device)
    parts = torch.split(fused, [count * width for count in heads], dim=-1)
    query, key, value = (
        part.view(rows, count, width) for part, count in zip(parts, heads, strict=True)
    )
    angles = torch.rand(rows, width // 2, device=kernel_device) * 100
    slots = torch.randperm(block_tokens * blocks, device=kernel_device)[:rows]
    empty = torch.zeros(2, kv_heads, blocks, block_tokens, width, dtype=dtype, device=kernel_device)
    results = []
    for module in (gpu_kernel("rope"), rope_reference):
        cache = empty.clone()
        rotation = (angles.cos(), angles.sin())
        turned = module.rotate_and_store(query, key, value, rotation, slots, cache[0], cache[1])
        results.append((turned, cache))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, **TOLERANCE[dtype])
