"""A start in small: what is loaded at first use is loaded before there is a model."""

from __future__ import annotations

from typing import Any

import torch

from worker.engine.assembly import Assembly, auto_dtype, put_together
from worker.engine.options import read_options
from worker.kernels.native.toolchain import available, compiled_before
from worker.models.base import Placement, Quantization
from worker.models.registry import builder_of

_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
_OPTIONS = {"max_context_tokens": 64, "kv_cache_tokens": 128, "max_running": 1}
QUANTIZATIONS: tuple[Quantization, ...] = ("none", "int8")


def pays() -> bool:
    """Whether there is anything to load. What was never compiled here is not compiled for a model
    that may never come, and a GPU's memory is not taken for one either."""
    return available() and compiled_before()


def miniature(quantization: Quantization) -> Assembly:
    """All parts of an engine around a model of one small layer, with zeros for weights."""
    device = torch.device("cpu")
    placement = Placement(auto_dtype(device), device, max_positions=64, quantization=quantization)
    model = builder_of(_CONFIG)(_CONFIG, placement)
    for target in model.tensors().values():
        target.copy_(torch.zeros(tuple(target.shape)))
    options = read_options(_OPTIONS)
    return put_together(model, options, 64, frozenset(), placement.dtype, device)
