"""What fits into a device's memory."""

from __future__ import annotations

from dataclasses import dataclass

from infra.performance.hardware import Accelerator
from infra.performance.model_facts import WEIGHT_BYTES, ModelFacts, Quantization

USABLE_SHARE = 0.92
"""What the driver, the context and fragmentation leave."""
STEP_TOKENS = 8192
"""Whose activations a step holds at once."""
_ROW_WIDTHS = 12
"""Activations of a token that live at once, in widths of the model."""
_GIB = 1 << 30


class DoesNotFit(ValueError):
    """The model needs more memory than there is; the message has the numbers."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Of all devices that share a replica, in bytes."""

    weights: int
    activations: int
    kv_cache: int
    kv_tokens: int


def plan_memory(
    model: ModelFacts,
    device: Accelerator,
    quantization: Quantization = "none",
    tensor_parallel: int = 1,
    max_context_tokens: int = 4096,
    kv_element_bytes: float = 2.0,
) -> MemoryPlan:
    """How a replica's memory is used.

    Raises:
        DoesNotFit: weights, activations and one sequence of full length are more than there is.
    """
    usable = int(device.memory_bytes * USABLE_SHARE) * tensor_parallel
    weights = model.weight_bytes(quantization)
    activations = STEP_TOKENS * model.width * _ROW_WIDTHS * 2
    each = model.kv_token_bytes(kv_element_bytes)
    least = int(max_context_tokens * each)
    if weights + activations + least > usable:
        raise DoesNotFit(
            f"{_gib(weights)} of weights, {_gib(activations)} of activations and "
            f"{_gib(least)} for one context of {max_context_tokens} tokens do not fit into "
            f"{_gib(usable)} of {tensor_parallel} x {device.name}: quantise, take a larger device "
            "or more of them, or lower max_context_tokens"
        )
    kv_cache = usable - weights - activations
    return MemoryPlan(weights, activations, kv_cache, int(kv_cache / each))


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.1f} GiB"


def weights_of(parameters: int, int8: bool) -> int:
    """Bytes, where no more is known of a model than the number of its parameters."""
    return int(parameters * WEIGHT_BYTES["int8" if int8 else "none"])


def require_weights(weight_bytes: int, device: Accelerator, devices: int = 1) -> None:
    """What is sure before anything else of the model is known.

    Raises:
        DoesNotFit: the weights alone are more than there is.
    """
    usable = int(device.memory_bytes * USABLE_SHARE) * devices
    if weight_bytes > usable:
        raise DoesNotFit(
            f"{_gib(weight_bytes)} of weights do not fit into {_gib(usable)} of "
            f"{devices} x {device.name}"
        )
