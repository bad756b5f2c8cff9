"""How long a step takes: linear in what it holds (Vidur, MLSys'24; Mélange, arXiv 2404.14527).

    decode   a + b * sequences + g * tokens of context
    prefill  p0 + p1 * tokens + p2 * tokens^2

The prior is a roofline: bytes over bandwidth, operations over peak, each times the share of it that
real kernels reach. The shares are those of summed operators of Llama-3.1-8B on A100, H100, H200 and
L40S (measured by AIConfigurator), which the prior misses by 7 % in the median of decode steps
and by 9 % in that of prefills. Replicas correct it by what they measure (`correction.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.performance.hardware import Accelerator
from infra.performance.model_facts import ModelFacts, Quantization

_WEIGHTS_REACHED = 0.77
"""Of the bandwidth, while weights are read."""
_KV_REACHED = 0.85
_DECODE_HIDDEN = 0.55
"""The part of a sequence's operations that the reading of weights does not hide."""
_PREFILL_REACHED = 0.95
_PREFILL_ENTRY = 0.75
"""Of the reading of all weights: what a prefill costs before its first token."""
_ATTENTION_REACHED = 0.25
_LINK_REACHED = 0.7
_ALL_REDUCES = 2
"""A layer, where tensors are parallel."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds."""

    decode_s: float
    decode_s_per_sequence: float
    decode_s_per_context_token: float
    prefill_s: float
    prefill_s_per_token: float
    prefill_s_per_token2: float

    def decode(self, sequences: int, context_tokens: int) -> float:
        """One step of `sequences` that have `context_tokens` in all; 0 for none."""
        if not sequences:
            return 0.0
        return (
            self.decode_s
            + self.decode_s_per_sequence * sequences
            + self.decode_s_per_context_token * context_tokens
        )

    def prefill(self, tokens: int, before: int = 0) -> float:
        """`tokens` of one prompt of which `before` are in the cache already; 0 for none."""
        if not tokens:
            return 0.0
        pairs = (before + tokens) ** 2 - before**2
        return (
            self.prefill_s + self.prefill_s_per_token * tokens + self.prefill_s_per_token2 * pairs
        )

    def mixed(
        self, sequences: int, context_tokens: int, chunk_tokens: int, before: int = 0
    ) -> float:
        """A decode step with a chunk of a prompt in it: the weights are read once."""
        both = self.decode(sequences, context_tokens) + self.prefill(chunk_tokens, before)
        return both - (min(self.decode_s, self.prefill_s) if sequences and chunk_tokens else 0.0)


def roofline(
    model: ModelFacts,
    device: Accelerator,
    quantization: Quantization = "none",
    tensor_parallel: int = 1,
    kv_element_bytes: float = 2.0,
) -> StepTime:
    """What nobody has measured yet.

    Args:
        tensor_parallel: devices of one machine that share every product.
    """
    bandwidth = device.bandwidth_bytes_per_s * tensor_parallel
    rate = _rate(device, quantization) * tensor_parallel
    weights_s = model.read_bytes(quantization) / (bandwidth * _WEIGHTS_REACHED)
    token_s = 2 * model.active_product_weights / rate
    attention_rate = device.bf16_flop_per_s * tensor_parallel * _ATTENTION_REACHED
    pair_operations = 2 * model.layers * model.query_heads * model.head_width
    exchanged_s = _exchange_s(model, device, tensor_parallel)
    return StepTime(
        decode_s=weights_s,
        decode_s_per_sequence=token_s * _DECODE_HIDDEN + exchanged_s,
        decode_s_per_context_token=model.kv_token_bytes(kv_element_bytes)
        / (bandwidth * _KV_REACHED),
        prefill_s=weights_s * _PREFILL_ENTRY,
        prefill_s_per_token=token_s / _PREFILL_REACHED + exchanged_s,
        prefill_s_per_token2=pair_operations / attention_rate,
    )


def _rate(device: Accelerator, quantization: Quantization) -> float:
    eight_bits = quantization in ("int8", "fp8") and device.int8_op_per_s
    return device.int8_op_per_s if eight_bits else device.bf16_flop_per_s


def _exchange_s(model: ModelFacts, device: Accelerator, tensor_parallel: int) -> float:
    """Of one token's activations among the devices, in all layers (ring all-reduce)."""
    if tensor_parallel == 1:
        return 0.0
    share = 2 * (tensor_parallel - 1) / tensor_parallel
    sent = _ALL_REDUCES * model.layers * model.width * 2 * share
    return sent / (device.link_bytes_per_s * _LINK_REACHED)
