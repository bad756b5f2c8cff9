"""Runs steps: the model's forward pass over a step's rows, then the choice of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from infra.wire import JobSpec
from worker.engine.readback import Readback
from worker.engine.step_layout import StepLayout, lay_out
from worker.kernels.sampling import NOT_FINITE, choose
from worker.scheduling.plan import Plan, StepResult

NOT_FINITE_LOGITS = "the model's logits are not finite numbers"


class Forward(Protocol):
    """The model on its device."""

    def run(self, layout: StepLayout, before: Tensor) -> Tensor:
        """Logits of the sampled rows, [samples, vocabulary] fp32; overwritten by the next run.

        Args:
            before: [samples of the step before] int64, what it chose: awaited tokens are taken
                from there.
        """


class Launched:
    """A step on its way: computed already on a CPU, queued on a GPU."""

    def __init__(self, sampling: tuple[int, ...], chosen: Tensor) -> None:
        self._sampling = sampling
        self._chosen = Readback(chosen)

    def result(self) -> StepResult:
        """Waits for the step."""
        sampled: dict[int, list[int]] = {}
        failures: dict[int, str] = {}
        for sequence_id, token in zip(self._sampling, self._chosen.read(), strict=True):
            if token == NOT_FINITE:
                failures[sequence_id] = NOT_FINITE_LOGITS
            else:
                sampled[sequence_id] = [token]
        return StepResult(sampled, failures)


class Runner:
    """`prepare` reads sequences and jobs, in the order of plans. `launch` reads neither, so it may
    run in a thread of its own, in the same order."""

    def __init__(self, forward: Forward, block_tokens: int) -> None:
        self._forward = forward
        self._block_tokens = block_tokens
        self._prepared: tuple[int, ...] = ()
        """Sequences that the step prepared last samples."""
        self._chosen = torch.empty(0, dtype=torch.int64)
        """What the step launched last chose, where it was computed."""

    def prepare(self, plan: Plan, jobs: Mapping[int, JobSpec]) -> StepLayout:
        """Lay out a plan; `jobs` by sequence id says how to choose each token."""
        layout = lay_out(plan, self._block_tokens, jobs, self._prepared)
        self._prepared = layout.sampling
        return layout

    @torch.inference_mode()
    def launch(self, layout: StepLayout) -> Launched:
        logits = self._forward.run(layout, self._chosen)
        self._chosen = choose(logits, layout.draws)
        return Launched(layout.sampling, self._chosen)

    @torch.inference_mode()
    def logits(self, plan: Plan) -> Tensor:
        """[sampling slices, vocabulary] fp32, in the order of the plan, none of it awaited."""
        return self._forward.run(lay_out(plan, self._block_tokens), self._chosen)
