"""Attention of a ragged batch over a paged KV cache (vLLM)."""

from worker.kernels.device import by_device
from worker.kernels.paged_attention import reference
from worker.kernels.paged_attention.batch import AttentionBatch
from worker.kernels.paged_attention.ragged import RaggedLayout

__all__ = ["AttentionBatch", "RaggedLayout", "paged_attention"]

paged_attention = by_device(reference.paged_attention)
