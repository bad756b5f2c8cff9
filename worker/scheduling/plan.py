"""What one engine step computes, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from infra.wire import TokenLogprob
from worker.scheduling.sequence import Sequence


class Slice(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Positions `start .. start + count` of one sequence.

    Hundreds are made in each step: a frozen dataclass takes ten times as long to make, and they can
    be in no cycle, so the garbage collector need not look at them.
    """

    sequence: Sequence
    start: int
    count: int
    samples: bool
    """Whether the last position's logits give a new token (else it is an inner prefill chunk)."""
    epoch: int
    residence: int
    block_table: tuple[int, ...]
    """As of this plan: the sequence's own may have been replaced by the time the plan runs. It is
    the same object for as long as nothing changes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A step. Before its slices run: `swap_out`, then `fresh_blocks`, then `swap_in`."""

    made_at_s: float
    slices: tuple[Slice, ...]
    """Decodes first."""
    fresh_blocks: tuple[int, ...]
    """Blocks given out by this plan; they still hold what their former owners wrote."""
    swap_out: tuple[tuple[int, int], ...] = ()
    """(block, host slot): copies to host memory."""
    swap_in: tuple[tuple[int, int], ...] = ()
    """(host slot, block): copies from host memory."""

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


class Outcome(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What a committed step means for one sequence."""

    sequence: Sequence
    tokens: list[int]
    """New output."""
    stopped: bool = False
    """A stop token was sampled."""
    failure: str = ""
