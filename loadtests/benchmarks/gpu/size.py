"""How much is measured, and on which shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AttentionCase:
    sequences: int
    context_tokens: int
    prefill: bool = False
    """All rows of each sequence at once; else the last one of each."""

    @property
    def name(self) -> str:
        kind = "prefill" if self.prefill else "decode"
        return f"attention.{kind}.{self.sequences}x{self.context_tokens}"

    @property
    def rows(self) -> int:
        """Of each sequence."""
        return self.context_tokens if self.prefill else 1


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    model_name: str
    """In the names of rows."""
    config: dict[str, Any]
    """Of a Llama."""
    dtype: str
    attention: tuple[AttentionCase, ...]
    attention_cache_bytes: int
    """Caches of one case take at least as much, one after the other: more than a GPU's own cache
    would hold."""
    copy_bytes: int
    product_width: int
    batches: tuple[int, ...]
    context_tokens: int
    decode_steps: int
    prefill: tuple[int, int]
    """Prompts, and tokens of each."""
    step_token_budget: int


LLAMA_3_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}

FULL = Size(
    rounds=5,
    model_name="llama_3_8b",
    config=LLAMA_3_8B,
    dtype="bfloat16",
    attention=(
        AttentionCase(1, 8192),
        AttentionCase(32, 1024),
        AttentionCase(256, 1024),
        AttentionCase(32, 8192),
        AttentionCase(1, 2048, prefill=True),
        AttentionCase(4, 8192, prefill=True),
    ),
    attention_cache_bytes=1 << 30,
    copy_bytes=4 << 30,
    product_width=8192,
    batches=(1, 32, 256),
    context_tokens=1024,
    decode_steps=48,
    prefill=(8, 2048),
    step_token_budget=4096,
)
