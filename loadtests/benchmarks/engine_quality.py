"""How well a model predicts a text: what a quantisation costs, in one number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from worker.engine.assembly import Assembly
from worker.engine.host_forward import HostForward
from worker.kernels.paged_attention import AttentionBatch
from worker.models.base import StepInput

CHUNK_TOKENS = 256


@torch.inference_mode()
def perplexity(assembly: Assembly, token_ids: Sequence[int]) -> float:
    """e to the mean negative log-likelihood of each token after the first, given those before it.

    Nothing else may run on the assembly meanwhile: its KV cache is written from the first block on.

    Raises:
        ValueError: the engine is not on a CPU, or its cache does not hold the text.
    """
    forward, limits = assembly.runner.forward, assembly.limits
    if not isinstance(forward, HostForward):
        raise ValueError("perplexity is measured on a CPU; build the engine with device: cpu")
    blocks = -(-len(token_ids) // limits.block_tokens)
    if len(token_ids) < 2 or blocks > limits.blocks or len(token_ids) > assembly.max_context_tokens:
        raise ValueError(f"{len(token_ids)} tokens do not fit: raise max_context_tokens")
    tokens, table = torch.tensor(token_ids), tuple(range(1, blocks + 1))
    forward.cache.clear(table)
    total = 0.0
    for start in range(0, len(tokens) - 1, CHUNK_TOKENS):
        positions = torch.arange(start, min(start + CHUNK_TOKENS, len(tokens) - 1))
        batch = AttentionBatch.build(
            [(start, len(positions), table)], limits.block_tokens, tokens.device
        )
        slots = limits.block_tokens + positions
        step = StepInput(tokens[positions], positions, slots, positions - start, batch)
        logits = forward.model.forward(step, forward.cache).double()
        targets = tokens[positions + 1]
        total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
    return math.exp(total / (len(tokens) - 1))
