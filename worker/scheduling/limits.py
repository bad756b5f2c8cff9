"""How much a scheduler may hand out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    max_running: int
    step_tokens: int
    """Most positions that one step computes."""
    blocks: int
    block_tokens: int
    prefix_cache: bool = True
    """Whether what sequences leave behind is kept for others with the same prefix."""
    host_blocks: int = 0
    """Blocks of host memory that preempted sequences may be copied to."""
    mixed_prefill_tokens: int | None = None
    """Most positions of prompts in a step with decodes; None: whatever the budget leaves."""

    def __post_init__(self) -> None:
        if min(self.max_running, self.step_tokens, self.blocks, self.block_tokens) < 1:
            raise ValueError("every limit of the scheduler must be at least 1")
        if self.step_tokens < self.max_running:
            raise ValueError("the step budget must have a token for every running sequence")
        if self.mixed_prefill_tokens is not None and self.mixed_prefill_tokens < 1:
            raise ValueError("mixed_prefill_tokens must be at least 1: prompts would never be read")
        if self.host_blocks < 0:
            raise ValueError("host_blocks must be at least 0")
