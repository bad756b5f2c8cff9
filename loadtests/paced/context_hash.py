"""Tokens that betray every mistake of whoever carries them: each is a hash of all before it.

A stream that lost, repeated or swapped a single token goes on differently from there, so comparing
with `expected_tokens` is enough to judge a recovery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

DEFAULT_VOCABULARY = range(300, 1300)
"""Ids that are ordinary words in most byte-level tokenizers: past special tokens and bytes."""
_DIGEST_BYTES = 8
_TOKEN_BYTES = 8


class ContextHash:
    """The running hash of a context, one token after the other."""

    def __init__(self, context: Iterable[int], vocabulary: range) -> None:
        if not vocabulary:
            raise ValueError("the vocabulary is empty: give at least one token id")
        self._vocabulary = vocabulary
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for token in context:
            self._append(token)

    def next(self) -> int:
        """The token that follows the context; it becomes part of it."""
        token = self._vocabulary[self.value % len(self._vocabulary)]
        self._append(token)
        return token

    @property
    def value(self) -> int:
        """The hash of the whole context as a 64-bit number."""
        return int.from_bytes(self._hash.copy().digest(), "little")

    def _append(self, token: int) -> None:
        self._hash.update(token.to_bytes(_TOKEN_BYTES, "little", signed=True))


def expected_tokens(
    prompt: Sequence[int],
    count: int,
    vocabulary: range = DEFAULT_VOCABULARY,
    eos_every: int = 0,
) -> list[int]:
    """The output of an undisturbed run: at most `count` tokens, fewer where an end is simulated."""
    context = ContextHash(prompt, vocabulary)
    output: list[int] = []
    while len(output) < count and not ends(context, eos_every):
        output.append(context.next())
    return output


def ends(context: ContextHash, eos_every: int) -> bool:
    """Whether the sequence ends here: once in `eos_every` tokens on average, never where 0."""
    return eos_every > 0 and (context.value >> 32) % eos_every == 0
