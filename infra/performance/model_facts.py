"""What a model's config says of its size: weights, KV cache, work for each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Quantization = Literal["none", "int8", "fp8", "int4"]

_GROUP = 64
"""Weights that share a scale of 4 bytes in int8 and int4."""
WEIGHT_BYTES: Mapping[str, float] = {
    "none": 2.0,
    "int8": 1.0 + 4 / _GROUP,
    "fp8": 1.0,
    "int4": 0.5 + 4 / _GROUP,
}
"""Of one weight of a product."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Of a decoder."""

    layers: int
    width: int
    query_heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    product_weights: int
    """Of all matrix products, the head among them, the embedding not."""
    active_product_weights: int
    """Of those that one token passes: fewer where experts are chosen."""
    other_weights: int
    """The embedding where it is not the head, and norms; kept in 2 bytes."""

    def weight_bytes(self, quantization: Quantization) -> int:
        """Of all weights, as they lie in memory."""
        return int(self.product_weights * WEIGHT_BYTES[quantization]) + 2 * self.other_weights

    def read_bytes(self, quantization: Quantization, batch: int = 1) -> float:
        """Of weights that a decode step of `batch` sequences reads: experts that nobody chose stay
        unread."""
        dense_share = self.active_product_weights / self.product_weights
        share = 1 - (1 - dense_share) ** max(1, batch)
        return self.product_weights * share * WEIGHT_BYTES[quantization]

    def kv_token_bytes(self, element_bytes: float = 2.0) -> float:
        """Keys and values of one token, in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_width * element_bytes


def facts_of(config: Mapping[str, Any]) -> ModelFacts:
    """From a Hugging Face config.json of a Llama-like decoder, mixtures of experts included.

    Raises:
        KeyError: the config lacks a size.
    """
    width, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    query_heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or query_heads)
    head_width = int(config.get("head_dim") or width // query_heads)
    vocabulary = int(config["vocab_size"])
    attention = width * head_width * (2 * query_heads + 2 * kv_heads)
    experts = int(config.get("num_local_experts") or config.get("num_experts") or 0)
    if experts:
        inner = int(config.get("moe_intermediate_size") or config["intermediate_size"])
        chosen = int(config["num_experts_per_tok"])
        router = width * experts
    else:
        inner, experts, chosen, router = int(config["intermediate_size"]), 1, 1, 0
    head = vocabulary * width
    tied = bool(config.get("tie_word_embeddings", False))
    expert = 3 * width * inner
    return ModelFacts(
        layers=layers,
        width=width,
        query_heads=query_heads,
        kv_heads=kv_heads,
        head_width=head_width,
        vocabulary=vocabulary,
        product_weights=layers * (attention + router + experts * expert) + head,
        active_product_weights=layers * (attention + router + chosen * expert) + head,
        other_weights=(0 if tied else head) + width * (2 * layers + 1),
    )
