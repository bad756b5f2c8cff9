"""The frame of a decoder: embedding, layers, a last norm, the head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from worker.models.base import Gate, LayerCache, Placement, StepInput, WeightTarget
from worker.models.decoder_config import DecoderConfig
from worker.models.layer_sequence import LayerInput, Layers, LayerSequence
from worker.models.layers.linear import Linear
from worker.models.layers.norm import RmsNorm


class Decoder:
    """A model of any architecture: what differs is in its layers.

    Args:
        layers: each with the table that turns its queries and keys.
        norm: before the head.
        embedding_scale: what multiplies embedded tokens.
        soft_cap: bounds logits to (-soft_cap, soft_cap) by tanh; 0 leaves them.
    """

    def __init__(
        self,
        config: DecoderConfig,
        placement: Placement,
        layers: Layers,
        norm: RmsNorm,
        embedding_scale: float = 1.0,
        soft_cap: float = 0.0,
    ) -> None:
        self.shape = config.shape
        self.gate: Gate | None = None
        self.unread = frozenset({"lm_head.weight"} if config.tie_word_embeddings else ())
        self._head = Linear(config.hidden_size, [config.vocab_size], placement)
        self._embedding = (
            None
            if config.tie_word_embeddings
            else placement.empty(config.vocab_size, config.hidden_size)
        )
        self._layers = layers
        self._through = LayerSequence(layers, placement)
        self._tables = {table for _, table in layers}
        self._norm = norm
        # Rounded to the model's dtype: that is what the weights were trained with.
        self._embedding_scale = float(torch.tensor(embedding_scale, dtype=placement.dtype))
        self._soft_cap = soft_cap

    def tensors(self) -> dict[str, WeightTarget]:
        return {name: target for part in self.parts() for name, target in part.items()}

    def parts(self) -> list[dict[str, WeightTarget]]:
        [head] = self._head.weights
        tied = self._embedding is None
        layers = (
            {f"model.layers.{index}.{name}": view for name, view in layer.tensors().items()}
            for index, (layer, _) in enumerate(self._layers)
        )
        last: dict[str, WeightTarget] = {"model.norm.weight": self._norm.weight}
        return [
            {"model.embed_tokens.weight": head if self._embedding is None else self._embedding},
            *layers,
            last if tied else {**last, "lm_head.weight": head},
        ]

    def forget(self) -> None:
        self._through.forget()

    def forward(self, step: StepInput, cache: LayerCache) -> Tensor:
        return self.head(self.hidden_states(step, cache))

    def hidden_states(self, step: StepInput, cache: LayerCache) -> Tensor:
        gate = self.gate
        if gate is not None:
            gate(0)
        rotations = {table: table.at(step.positions) for table in self._tables}
        if self._embedding is None:
            hidden = self._head.rows(step.token_ids)
        else:
            hidden = functional.embedding(step.token_ids, self._embedding)
        if self._embedding_scale != 1.0:
            hidden = hidden * self._embedding_scale
        given = LayerInput(hidden, rotations, step)
        hidden, residual = self._through(given, cache, gate)
        if gate is not None:
            gate(len(self._layers) + 1)
        rows = step.sampled_rows
        hidden, _ = self._norm(hidden[rows], residual[rows])
        return hidden

    def head(self, hidden: Tensor) -> Tensor:
        logits = self._head(hidden, torch.float32)
        return self._soft_cap * (logits / self._soft_cap).tanh() if self._soft_cap else logits
