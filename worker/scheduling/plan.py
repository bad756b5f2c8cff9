"""What one engine step computes, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.wire import TokenLogprob
from worker.scheduling.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Slice:
    """Positions `start .. start + count` of one sequence."""

    sequence: Sequence
    start: int
    count: int
    samples: bool
    """Whether the last position's logits give a new token (else it is an inner prefill chunk)."""
    epoch: int
    block_table: tuple[int, ...]
    """As of this plan: the sequence's own may have changed by the time the plan runs."""


@dataclass(frozen=True, slots=True)
class Plan:
    made_at_s: float
    slices: tuple[Slice, ...]
    """Decodes first."""
    fresh_blocks: tuple[int, ...]
    """Blocks given out by this plan; they still hold what their former owners wrote."""

    @property
    def tokens(self) -> int:
        return sum(part.count for part in self.slices)


@dataclass(frozen=True, slots=True)
class StepResult:
    """By sequence id: 0..k new tokens of each sampling slice, or why a sequence cannot go on."""

    sampled: dict[int, list[int]]
    failures: dict[int, str] = field(default_factory=dict)
    logprobs: dict[int, list[TokenLogprob]] = field(default_factory=dict)
    """One for each of `sampled`, where the sequence tells them."""
    prompt_logprobs: dict[int, list[TokenLogprob | None]] = field(default_factory=dict)
    """With the step that completes a prompt whose sequence tells them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a committed step means for one sequence."""

    sequence: Sequence
    tokens: list[int]
    """New output."""
    stopped: bool = False
    """A stop token was sampled."""
    failure: str = ""
