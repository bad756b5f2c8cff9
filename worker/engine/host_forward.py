"""The forward pass on a CPU: a step's tensors are made anew and nothing is captured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.engine.kv_cache import KvCache
from worker.engine.step_layout import StepLayout
from worker.kernels.paged_attention import AttentionBatch
from worker.models.base import Model, StepInput


@dataclass(frozen=True, slots=True)
class HostForward:
    model: Model
    cache: KvCache
    block_tokens: int

    def run(self, layout: StepLayout, before: Tensor) -> Tensor:
        """See `Forward`."""
        return self.head(self.hidden_states(layout, before))

    def hidden_states(self, layout: StepLayout, before: Tensor) -> Tensor:
        """See `Forward`."""
        self.cache.clear(layout.fresh_blocks)
        return self.model.hidden_states(self._step_input(layout, before), self.cache)

    def head(self, hidden: Tensor) -> Tensor:
        """See `Forward`."""
        return self.model.head(hidden)

    def _step_input(self, layout: StepLayout, before: Tensor) -> StepInput:
        token_ids = torch.from_numpy(layout.token_ids)
        if len(layout.awaited_rows):
            awaited = before[torch.from_numpy(layout.awaited_samples)]
            # A step that gave no token ends its sequence; what is computed here is dropped.
            token_ids[torch.from_numpy(layout.awaited_rows)] = awaited.clamp_min(0)
        return StepInput(
            token_ids,
            torch.from_numpy(layout.positions),
            torch.from_numpy(layout.slots),
            torch.from_numpy(np.concatenate([layout.sampled_rows, layout.told_rows])),
            AttentionBatch.build(layout.parts, self.block_tokens, token_ids.device),
        )
