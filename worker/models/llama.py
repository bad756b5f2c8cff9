"""Llama (Touvron et al., 2023; Llama 2 and 3, SmolLM2): pre-norm, GQA, rotary, SwiGLU."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from worker.kernels.linear import linear
from worker.models.base import LayerCache, Placement, StepInput
from worker.models.layers.attention import Attention
from worker.models.layers.mlp import GatedMlp
from worker.models.layers.norm import RmsNorm
from worker.models.layers.rope import rotation_table
from worker.models.llama_config import LlamaConfig


class LlamaLayer:
    def __init__(self, config: LlamaConfig, placement: Placement) -> None:
        width, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_norm = RmsNorm(width, epsilon, placement)
        self.attention = Attention(
            width, config.num_attention_heads, config.kv_heads, config.head_width, placement
        )
        self.mlp_norm = RmsNorm(width, epsilon, placement)
        self.mlp = GatedMlp(width, config.intermediate_size, placement)

    def tensors(self) -> dict[str, Tensor]:
        return {
            "input_layernorm.weight": self.input_norm.weight,
            "post_attention_layernorm.weight": self.mlp_norm.weight,
            **{f"self_attn.{name}": view for name, view in self.attention.tensors().items()},
            **{f"mlp.{name}": view for name, view in self.mlp.tensors().items()},
        }


class Llama:
    def __init__(self, config: LlamaConfig, placement: Placement) -> None:
        width = config.hidden_size
        self.shape = config.shape
        self._exact = placement.exact
        self._embedding = placement.empty(config.vocab_size, width)
        self._layers = [LlamaLayer(config, placement) for _ in range(config.num_hidden_layers)]
        self._norm = RmsNorm(width, config.rms_norm_eps, placement)
        self._tied = config.tie_word_embeddings
        self._head = self._embedding if self._tied else placement.empty(config.vocab_size, width)
        self._cosines, self._sines = rotation_table(
            config.head_width,
            placement.max_positions,
            config.theta,
            config.scaling,
            placement.device,
        )

    def tensors(self) -> dict[str, Tensor]:
        named = {
            "model.embed_tokens.weight": self._embedding,
            "model.norm.weight": self._norm.weight,
        }
        if not self._tied:
            named["lm_head.weight"] = self._head
        for index, layer in enumerate(self._layers):
            for name, view in layer.tensors().items():
                named[f"model.layers.{index}.{name}"] = view
        return named

    def forward(self, step: StepInput, cache: LayerCache) -> Tensor:
        rotation = (self._cosines[step.positions], self._sines[step.positions])
        hidden = functional.embedding(step.token_ids, self._embedding)
        residual: Tensor | None = None
        for index, layer in enumerate(self._layers):
            hidden, residual = layer.input_norm(hidden, residual)
            hidden = layer.attention(
                hidden, rotation, step.slots, cache.layer(index), step.attention
            )
            hidden, residual = layer.mlp_norm(hidden, residual)
            hidden = layer.mlp(hidden)
        assert residual is not None
        rows = step.sampled_rows
        hidden, _ = self._norm(hidden[rows], residual[rows])
        return linear(hidden, self._head, self._exact).float()
