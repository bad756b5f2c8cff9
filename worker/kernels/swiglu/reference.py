"""Gated activations: SwiGLU and GeGLU (Shazeer, 2020)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional


def swiglu(gate_and_up: Tensor, exact: bool = False) -> Tensor:
    """silu(gate) * up.

    Args:
        gate_and_up: [rows, 2 x width], the gate first.

    Returns:
        [rows, width].
    """
    return _gated(gate_and_up, functional.silu, exact)


def geglu(gate_and_up: Tensor, exact: bool = False) -> Tensor:
    """gelu(gate) * up, with GELU by tanh (Gemma); shapes as in `swiglu`."""
    return _gated(gate_and_up, partial(functional.gelu, approximate="tanh"), exact)


def _gated(gate_and_up: Tensor, activation: Callable[[Tensor], Tensor], exact: bool) -> Tensor:
    width = gate_and_up.shape[-1] // 2
    gate, up = gate_and_up[:, :width], gate_and_up[:, width:]
    if not exact:
        return activation(gate) * up
    # A vector unit's exp and a scalar one's differ in the last bit, and which of them an element
    # meets depends on its place in the tensor: so each row is a tensor of its own.
    return torch.cat([activation(gate[i : i + 1].clone()) for i in range(len(gate))]) * up
