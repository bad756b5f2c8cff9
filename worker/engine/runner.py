"""Runs steps: the model's forward pass over a step's rows, then the choice of its tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from worker.engine.grammar.masks import GrammarMasks
from worker.engine.host_pool import HostPool
from worker.engine.readback import Readback
from worker.engine.sampler import Chosen, PromptRows, Sampler
from worker.engine.step_layout import StepLayout, lay_out
from worker.kernels.logprobs import Likelihoods
from worker.scheduling.plan import Plan, StepResult


class Forward(Protocol):
    """The model on its device."""

    def run(self, layout: StepLayout, before: Tensor) -> Tensor:
        """Logits of the sampled rows, [samples, vocabulary] fp32; overwritten by the next run.

        Args:
            before: [samples of the step before] int64, what it chose: awaited tokens are taken
                from there.
        """

    def hidden_states(self, layout: StepLayout, before: Tensor) -> Tensor:
        """What the head reads: [samples + told rows, width]."""

    def head(self, hidden: Tensor) -> Tensor:
        """Logits: [rows, width] -> [rows, vocabulary] fp32."""


class Launched:
    """A step on its way: computed already on a CPU, queued on a GPU."""

    def __init__(
        self, chosen: Chosen, prompts: tuple[PromptRows, ...], masks: GrammarMasks
    ) -> None:
        self._chosen = chosen
        self._readback = Readback(chosen.tokens, *(chosen.likelihoods or ()))
        self._prompts = prompts
        self._masks = masks
        self._result: StepResult | None = None

    def result(self) -> StepResult:
        """Waits for the step; grammars follow its tokens once."""
        if self._result is None:
            tokens, *told = self._readback.read()
            chosen = replace(self._chosen, likelihoods=Likelihoods(*told) if told else None)
            self._result = self._masks.follow(chosen.result(tokens.tolist(), self._prompts))
        return self._result


class Runner:
    """`prepare` reads sequences, in the order of plans. `launch` reads none, so it may run in a
    thread of its own, in the same order."""

    def __init__(
        self,
        forward: Forward,
        block_tokens: int,
        sampler: Sampler,
        pool: HostPool | None = None,
    ) -> None:
        self.forward = forward
        self._pool = pool
        self._block_tokens = block_tokens
        self._sampler = sampler
        self._prepared: tuple[int, ...] = ()
        """Sequences that the step prepared last samples."""
        self._chosen = torch.empty(0, dtype=torch.int64)
        """What the step launched last chose, where it was computed."""
        self._launched: Launched | None = None

    @property
    def block_copy_s(self) -> float | None:
        """What a block takes to host memory or back; None where nothing is swapped."""
        return self._pool.block_copy_s if self._pool is not None else None

    def prepare(self, plan: Plan) -> StepLayout:
        """Lay out a plan."""
        layout = lay_out(plan, self._block_tokens, self._prepared, self._sampler)
        self._prepared = layout.sampling
        return layout

    @torch.inference_mode()
    def launch(self, layout: StepLayout) -> Launched:
        self._swap(layout)
        run = self._run_prompts if layout.prompts else self.forward.run
        logits = run(layout, self._chosen)
        chosen = self._sampler.choose(layout.choices, logits, self._mask(layout))
        self._chosen = chosen.tokens
        self._launched = Launched(chosen, layout.prompts, self._sampler.masks)
        return self._launched

    def _mask(self, layout: StepLayout) -> Tensor | None:
        """What grammars allow in a step whose forward pass is on its way. They have to know the
        tokens of the step before it: a GPU is waited for where there are any."""
        masks = self._sampler.masks
        if not masks.hold(layout.sampling):
            return None
        if self._launched is not None:
            self._launched.result()
        return masks.fill([(row.sequence_id, row.draw.index) for row in layout.choices])

    def _run_prompts(self, layout: StepLayout, before: Tensor) -> Tensor:
        """The logits of the sampled rows; those of prompts are looked at on the way, tile by
        tile."""
        hidden = self.forward.hidden_states(layout, before)
        first = len(layout.sampled_rows)
        sampled = hidden[:first]
        for part in layout.prompts:
            part.logprobs.extend(hidden[first : first + part.rows], part.targets, self.forward.head)
            first += part.rows
        return self.forward.head(sampled)

    @torch.inference_mode()
    def logits(self, plan: Plan) -> Tensor:
        """[sampling slices, vocabulary] fp32, in the order of the plan, none of it awaited."""
        layout = lay_out(plan, self._block_tokens)
        self._swap(layout)
        return self.forward.run(layout, self._chosen).clone()

    def _swap(self, layout: StepLayout) -> None:
        if self._pool is not None:
            self._pool.move(layout.swap_out, layout.swap_in)
