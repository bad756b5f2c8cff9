"""A Llama of any shape with random weights: as fast as a trained one, and needs no download."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from loadtests.benchmarks.gpu.size import Size
from worker.engine.assembly import Assembly, put_together
from worker.engine.device import with_gpu_defaults
from worker.engine.options import read_options
from worker.models.base import Placement
from worker.models.registry import builder_of


@dataclass(frozen=True, slots=True)
class RandomLlama:
    assembly: Assembly
    matrix_elements: int
    """Of the layers' matrices: each is multiplied with every row."""
    head_elements: int
    """Multiplied with sampled rows only."""
    weight_bytes: int
    """What a decode step reads at least; embeddings are looked up."""
    token_bytes: int
    """KV of one position."""

    @classmethod
    def build(cls, size: Size, device: torch.device) -> RandomLlama:
        """On a GPU, sized as an engine is, graphs included."""
        values = with_gpu_defaults(
            {
                "max_running": max(size.batches),
                "step_token_budget": size.step_token_budget,
                "max_context_tokens": max(2 * size.context_tokens, 2 * size.prefill[1]),
            }
        )
        options = read_options(values)
        dtype = getattr(torch, size.dtype)
        context = options.max_context_tokens or 0
        model = builder_of(size.config)(size.config, Placement(dtype, device, context))
        matrices = head = 0
        for name, tensor in model.tensors().items():
            tensor.copy_(torch.empty(*tensor.shape, device=device).normal_(0.0, 0.02))
            if name == "lm_head.weight":
                head = math.prod(tensor.shape)
            elif len(tensor.shape) == 2 and "embed" not in name:
                matrices += math.prod(tensor.shape)
        assembly = put_together(model, options, context, frozenset(), dtype, device)
        shape = model.shape
        return cls(
            assembly=assembly,
            matrix_elements=matrices,
            head_elements=head,
            weight_bytes=(matrices + head) * dtype.itemsize,
            token_bytes=2 * shape.layers * shape.kv_heads * shape.head_width * dtype.itemsize,
        )
