"""One sequence: its tokens, how far its KV cache reaches, and the blocks that hold it."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from worker.scheduling.prefix_tree import Node

PRIORITY_LEAD = 256
"""How many sequences that came later one of the next lower priority lets pass."""
MOST_PRIORITY = 8
"""Priorities beyond +-this count as this, so that nobody can put others off for ever."""


@dataclass(slots=True, eq=False)
class Sequence:
    """Everything the scheduler knows of a job; all else about it is a function of this."""

    sequence_id: int
    """Rises with arrival."""
    tokens: list[int]
    """The prompt, then the output so far (what earlier attempts delivered included)."""
    prompt_tokens: int
    limit_tokens: int
    """The sequence ends when it is this long, prompt included."""
    stop_tokens: frozenset[int] = frozenset()
    priority: int = 0
    """Smaller goes first and is preempted last."""
    cache_salt: str = ""
    """Cached prefixes are shared with sequences of the same salt only."""
    reuse_prefix: bool = True
    """Whether it may start after a cached prefix; else all of its positions are computed."""

    computed_tokens: int = 0
    """Positions whose KV is in the cache once every outstanding plan has run."""
    awaited_tokens: int = 0
    """Sampled by outstanding plans, but not known yet."""
    proven_tokens: int = 0
    """Positions whose KV was written by committed plans and has given finite logits."""
    epoch: int = 0
    """Rises when what outstanding plans compute for this sequence has become worthless."""
    residence: int = 0
    """Rises when the sequence gives up its blocks."""
    block_table: tuple[int, ...] = ()
    """Replaced when it changes, so that plans may keep it."""
    shared_path: list[Node] = field(default_factory=list)
    """The prefix tree's nodes of its first blocks; the blocks after them are its own."""
    digests: list[bytes] = field(default_factory=list)
    """Hashes of its first blocks, as far as somebody asked for them."""
    host_slots: tuple[int, ...] = ()
    """Where its blocks lie in host memory, while it is swapped out."""
    finished: bool = False
    rank: tuple[int, int] = field(init=False)
    """Who has the smaller one goes first, and is preempted last."""

    def __post_init__(self) -> None:
        priority = max(-MOST_PRIORITY, min(self.priority, MOST_PRIORITY))
        self.rank = (self.sequence_id + priority * PRIORITY_LEAD, self.sequence_id)

    @property
    def expected_tokens(self) -> int:
        """Length of the sequence once every outstanding plan has run."""
        return len(self.tokens) + self.awaited_tokens

    @property
    def pending_tokens(self) -> int:
        """Positions that a next plan may compute; none where the end is already on its way."""
        expected = len(self.tokens) + self.awaited_tokens
        if self.awaited_tokens and expected >= self.limit_tokens:
            return 0
        return expected - self.computed_tokens

    @property
    def output_tokens(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    @property
    def shareable_tokens(self) -> int:
        """Positions that nothing will write again: the last token may have to be computed anew."""
        return min(self.proven_tokens, len(self.tokens) - 1)

    def leave(self, host_slots: tuple[int, ...]) -> None:
        """Its blocks are gone; what they held lies in these slots, or must be computed again."""
        self.residence += 1
        self.host_slots = host_slots
        if not host_slots:
            self.computed_tokens = self.proven_tokens = 0

    def rewind(self, computed_tokens: int) -> None:
        """Drop what outstanding plans do: they guessed the positions of their tokens wrongly."""
        self.epoch += 1
        self.awaited_tokens = 0
        self.computed_tokens = min(self.computed_tokens, computed_tokens, len(self.tokens) - 1)

    def append(self, sampled: Tokens[int]) -> tuple[list[int], bool]:
        """Take newly sampled tokens up to a stop token or the limit.

        Returns the tokens that became output, and whether a stop token ended them.
        """
        taken = list(sampled[: self.limit_tokens - len(self.tokens)])
        stopped = not self.stop_tokens.isdisjoint(taken)
        if stopped:
            del taken[next(i for i, token in enumerate(taken) if token in self.stop_tokens) :]
        self.tokens += taken
        self.finished = stopped or len(self.tokens) >= self.limit_tokens
        if not taken:
            # The last token's logits are needed again, so it is computed again.
            self.computed_tokens = min(self.computed_tokens, self.expected_tokens - 1)
        return taken, stopped
