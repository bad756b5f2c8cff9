"""Turns a plan into tensors, runs the model, and chooses tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from infra.wire import JobSpec
from worker.engine.kv_cache import KvCache
from worker.kernels.paged_attention import AttentionBatch
from worker.kernels.sampling import Draw, sample
from worker.models.base import Model, StepInput
from worker.scheduling.plan import Plan, Slice, StepResult

NOT_FINITE = "the model's logits are not finite numbers"


class Runner:
    def __init__(self, model: Model, cache: KvCache, block_tokens: int) -> None:
        self._model = model
        self._cache = cache
        self._block_tokens = block_tokens
        self._device = cache.layer(0)[0].device

    @torch.inference_mode()
    def run(self, plan: Plan, jobs: Mapping[int, JobSpec]) -> StepResult:
        """Compute a plan; `jobs` by sequence id says how to choose each token."""
        sampling = [part for part in plan.slices if part.samples]
        tokens = sample(self.logits(plan), [_draw(part, jobs) for part in sampling])
        sampled: dict[int, list[int]] = {}
        failures: dict[int, str] = {}
        for part, token in zip(sampling, tokens, strict=True):
            if token is None:
                failures[part.sequence.sequence_id] = NOT_FINITE
            else:
                sampled[part.sequence.sequence_id] = [token]
        return StepResult(sampled, failures)

    @torch.inference_mode()
    def logits(self, plan: Plan) -> Tensor:
        """[sampling slices, vocabulary] fp32, in the order of the plan."""
        self._cache.clear(plan.fresh_blocks)
        return self._model.forward(self._step_input(plan), self._cache)

    def _step_input(self, plan: Plan) -> StepInput:
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        sampled_rows: list[int] = []
        for part in plan.slices:
            end = part.start + part.count
            tokens += part.sequence.tokens[part.start : end]
            positions += range(part.start, end)
            slots += (self._slot(part, position) for position in range(part.start, end))
            if part.samples:
                sampled_rows.append(len(tokens) - 1)
        parts = [(part.start, part.count, part.block_table) for part in plan.slices]
        return StepInput(
            self._integers(tokens),
            self._integers(positions),
            self._integers(slots),
            self._integers(sampled_rows),
            AttentionBatch.build(parts, self._block_tokens, self._device),
        )

    def _slot(self, part: Slice, position: int) -> int:
        block, offset = divmod(position, self._block_tokens)
        return part.block_table[block] * self._block_tokens + offset

    def _integers(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)


def _draw(part: Slice, jobs: Mapping[int, JobSpec]) -> Draw:
    job = jobs[part.sequence.sequence_id]
    return Draw(
        temperature=job.sampling.temperature,
        top_k=job.sampling.top_k,
        top_p=job.sampling.top_p,
        seed=job.sampling.seed,
        choice=job.choice,
        index=part.sequence.output_tokens,
    )
