"""Attention of a ragged batch over a paged KV cache (vLLM)."""

from worker.kernels.paged_attention.batch import AttentionBatch
from worker.kernels.paged_attention.reference import paged_attention

__all__ = ["AttentionBatch", "paged_attention"]
