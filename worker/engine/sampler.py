"""Chooses the tokens of a step, each by the settings of its sequence.

The order of what happens to a row of logits, as in vLLM and transformers: log-probabilities are
taken; bias is added; repetition, frequency and presence penalties; stop tokens before `min_tokens`
and whatever a mask forbids are taken out; temperature; top-k; top-p; min-p; the draw.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.wire import JobSpec, TokenLogprob
from worker.engine.grammar.masks import GrammarMasks
from worker.engine.logprobs import NOT_TOLD, PromptLogprobs, are_finite, read_logprobs
from worker.engine.sampling_state import SamplingState
from worker.kernels.logprobs import Likelihoods, likelihoods
from worker.kernels.penalties import penalize
from worker.kernels.sampling import FORBIDDEN, NOT_FINITE, NOTHING_ALLOWED, Draw, choose
from worker.kernels.token_mask import apply_mask
from worker.kernels.upload import upload
from worker.scheduling.plan import Plan, Slice, StepResult
from worker.scheduling.sequence import Sequence

REASONS = {
    NOT_FINITE: "the model's logits are not finite numbers",
    NOTHING_ALLOWED: "no token is allowed here: the grammar or the logit_bias excludes all of them",
}


@dataclass(frozen=True, slots=True)
class SampledRow:
    """How the token of one slice is to be chosen, as it was when the step was planned."""

    state: SamplingState
    draw: Draw
    renewed_history: tuple[list[int], list[int]] | None
    """Prompt and output to count before the choice; None where the history is right."""

    @property
    def sequence_id(self) -> int:
        return self.state.sequence_id

    @property
    def may_stop(self) -> bool:
        return self.draw.index >= self.state.min_tokens


@dataclass(frozen=True, slots=True)
class PromptRows:
    """Rows of a step whose log-probabilities are told."""

    sequence_id: int
    logprobs: PromptLogprobs
    first_row: int
    """Among all rows of the step."""
    targets: list[int]
    """The tokens that these rows predict."""
    completes: bool
    """Whether this step gives the first token, with which they are told."""

    @property
    def rows(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tokens of a step, where they were computed; `result` makes them the host's."""

    rows: tuple[SampledRow, ...]
    tokens: Tensor
    """[rows] int64; negative where a row has none."""
    likelihoods: Likelihoods | None
    """Of the rows that tell them, in their order."""

    def result(self, tokens: list[int], prompts: tuple[PromptRows, ...]) -> StepResult:
        """What the step gave, now that its tokens are on the host."""
        pairs = [(row.sequence_id, token) for row, token in zip(self.rows, tokens, strict=True)]
        failures = {sequence_id: REASONS[token] for sequence_id, token in pairs if token < 0}
        told = {part.sequence_id: part.logprobs.hand_out() for part in prompts if part.completes}
        for sequence_id, each in told.items():
            if not are_finite(each):
                failures[sequence_id] = REASONS[NOT_FINITE]
        return StepResult(
            {sequence_id: [token] for sequence_id, token in pairs if token >= 0},
            failures,
            self._logprobs(),
            {
                sequence_id: each
                for sequence_id, each in told.items()
                if sequence_id not in failures
            },
        )

    def _logprobs(self) -> dict[int, list[TokenLogprob]]:
        if self.likelihoods is None:
            return {}
        states = [row.state for row in self.rows if row.state.logprobs > NOT_TOLD]
        read = read_logprobs(self.likelihoods, [state.logprobs for state in states])
        return {state.sequence_id: [each] for state, each in zip(states, read, strict=True)}


class Sampler:
    """`prepare` reads sequences, in the order of plans. `choose` reads none, so it may run in a
    thread of its own, in the same order: there the last token is known, if only to the device."""

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self._vocabulary = vocabulary
        self.device = device
        self._states: dict[int, SamplingState] = {}
        self.masks = GrammarMasks(vocabulary)
        """Of the sequences that have a grammar."""

    def open(self, sequence: Sequence, job: JobSpec) -> None:
        state = SamplingState(sequence, job, self._vocabulary, self.device)
        self._states[sequence.sequence_id] = state

    def close(self, sequence_id: int) -> None:
        """Forget a sequence; steps that are prepared may still run."""
        self._states.pop(sequence_id, None)
        self.masks.close(sequence_id)

    def prepare(self, plan: Plan) -> tuple[SampledRow, ...]:
        """One for each slice that samples, in the order of the plan."""
        return tuple(self._row(part) for part in plan.slices if part.samples)

    def prompt_rows(self, plan: Plan) -> tuple[PromptRows, ...]:
        """Of the slices of prompts whose log-probabilities are asked for, in the plan's order."""
        found: list[PromptRows] = []
        row = 0
        for part in plan.slices:
            told = self._states[part.sequence.sequence_id].prompt
            if told is not None and not told.complete:
                skipped, targets = told.plan(part)
                told.complete = part.samples
                first = row + skipped
                identity = part.sequence.sequence_id
                found.append(PromptRows(identity, told, first, targets, part.samples))
            row += part.count
        return tuple(found)

    def choose(
        self, rows: tuple[SampledRow, ...], logits: Tensor, mask: Tensor | None = None
    ) -> Chosen:
        """Choose a token for each row; may write into the logits.

        Args:
            logits: [rows, vocabulary] fp32.
            mask: [rows, ceil(vocabulary / 32)] int32, see `apply_mask`; None where all is allowed.
        """
        told = [place for place, row in enumerate(rows) if row.state.logprobs > NOT_TOLD]
        told_rows = upload(told, torch.int64, logits.device)
        raw = logits.index_select(0, told_rows) if told else None
        _add_bias(rows, logits)
        _penalize(rows, logits)
        _forbid_stops(rows, logits)
        if mask is not None:
            apply_mask(logits, mask.to(logits.device))
        tokens = choose(logits, [row.draw for row in rows])
        _count(rows, tokens)
        if raw is None:
            return Chosen(rows, tokens, None)
        top = max(rows[place].state.logprobs for place in told)
        return Chosen(rows, tokens, likelihoods(raw, tokens.index_select(0, told_rows), top))

    def _row(self, part: Slice) -> SampledRow:
        state = self._states[part.sequence.sequence_id]
        return SampledRow(state, state.draw(part), state.renewed_history(part))


def _add_bias(rows: Rows[SampledRow], logits: Tensor) -> None:
    for place, row in enumerate(rows):
        if row.state.bias is not None:
            tokens, values = row.state.bias
            logits[place].index_add_(0, tokens, values)


def _penalize(rows: Rows[SampledRow], logits: Tensor) -> None:
    mine = [(place, row, row.state.history) for place, row in enumerate(rows)]
    held = [(place, row, history) for place, row, history in mine if history is not None]
    if not held:
        return
    for _, row, history in held:
        if row.renewed_history is not None:
            history.count(*row.renewed_history)
    penalize(
        logits,
        [place for place, _, _ in held],
        torch.stack([history.counts for _, _, history in held]),
        torch.stack([history.in_prompt for _, _, history in held]),
        [row.state.penalty for _, row, _ in held],
    )


def _forbid_stops(rows: Rows[SampledRow], logits: Tensor) -> None:
    for place, row in enumerate(rows):
        if not row.may_stop:
            stops = row.state.stop_tokens
            held = logits[place, stops]
            logits[place, stops] = held.masked_fill(held.isfinite(), FORBIDDEN)


def _count(rows: Rows[SampledRow], tokens: Tensor) -> None:
    for place, row in enumerate(rows):
        if row.state.history is not None:
            # A row without a token ends its sequence, so what is counted for it does not matter.
            token = tokens[place : place + 1].clamp_min(0)
            one = torch.ones_like(token, dtype=torch.int32)
            row.state.history.counts.index_add_(0, token, one)
