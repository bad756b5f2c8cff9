"""One sequence: its tokens, how far its KV cache reaches, and the blocks that hold it."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Sequence:
    """Everything the scheduler knows of a job; all else about it is a function of this."""

    sequence_id: int
    """Rises with arrival: a smaller number is older and goes first."""
    tokens: list[int]
    """The prompt, then the output so far (what earlier attempts delivered included)."""
    prompt_tokens: int
    limit_tokens: int
    """The sequence ends when it is this long, prompt included."""
    stop_tokens: frozenset[int] = frozenset()
    reuse_prefix: bool = True
    """False where every position of the prompt has to be computed, whatever a cache holds."""

    computed_tokens: int = 0
    """Positions whose KV is in the cache once every outstanding plan has run."""
    awaited_tokens: int = 0
    """Sampled by outstanding plans, but not known yet."""
    epoch: int = 0
    """Rises when what outstanding plans compute for this sequence has become worthless."""
    block_table: list[int] = field(default_factory=list)
    finished: bool = False

    @property
    def expected_tokens(self) -> int:
        """Length of the sequence once every outstanding plan has run."""
        return len(self.tokens) + self.awaited_tokens

    @property
    def pending_tokens(self) -> int:
        """Positions that a next plan may compute; none where the end is already on its way."""
        if self.awaited_tokens and self.expected_tokens >= self.limit_tokens:
            return 0
        return self.expected_tokens - self.computed_tokens

    @property
    def output_tokens(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    def restart(self) -> None:
        """Forget the cache: everything known is computed again (preemption by recompute)."""
        self.computed_tokens = 0

    def rewind(self, computed_tokens: int) -> None:
        """Drop what outstanding plans do: they guessed the positions of their tokens wrongly."""
        self.epoch += 1
        self.awaited_tokens = 0
        self.computed_tokens = min(self.computed_tokens, computed_tokens, len(self.tokens) - 1)

    def append(self, sampled: Tokens[int]) -> tuple[list[int], bool]:
        """Take newly sampled tokens up to a stop token or the limit.

        Returns the tokens that became output, and whether a stop token ended them.
        """
        taken: list[int] = []
        for token in sampled:
            if token in self.stop_tokens:
                self.finished = True
                break
            taken.append(token)
            if len(self.tokens) + len(taken) >= self.limit_tokens:
                break
        stopped = self.finished
        self.tokens += taken
        self.finished = stopped or len(self.tokens) >= self.limit_tokens
        # Without a new token the last one's logits are needed again, so it is computed again.
        self.computed_tokens = min(self.computed_tokens, self.expected_tokens - 1)
        return taken, stopped
