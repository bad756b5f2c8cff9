"""Hashes of token prefixes, block by block (pure).

A block's hash covers everything before it: it is made of its parent's hash and its own tokens, the
first one's parent of the salt. So equal hashes mean equal salt and tokens, in every process and
version, and routers and workers may compare them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from struct import pack

HASH_BYTES = 16
"""Nobody finds two prefixes of one hash (2^64 tries), so a hash stands for its tokens."""
_FAMILY = b"tamer prefix 1"


def root_hash(salt: str) -> bytes:
    """The parent of a first block."""
    return blake2b(salt.encode(), digest_size=HASH_BYTES, person=_FAMILY).digest()


def block_hash(parent: bytes, tokens: Sequence[int]) -> bytes:
    """The hash of the block of `tokens` (ids below 2^32) that follows `parent`."""
    body = pack(f"<{len(tokens)}I", *tokens)
    return blake2b(parent + body, digest_size=HASH_BYTES, person=_FAMILY).digest()


def prefix_hashes(tokens: Sequence[int], block_tokens: int, salt: str = "") -> list[bytes]:
    """The hashes of all full blocks of `tokens`."""
    hashes: list[bytes] = []
    extend_hashes(hashes, tokens, block_tokens, len(tokens) // block_tokens, salt)
    return hashes


def extend_hashes(
    hashes: list[bytes], tokens: Sequence[int], block_tokens: int, blocks: int, salt: str
) -> None:
    """Append to the hashes of the first blocks of `tokens` until there are `blocks` of them."""
    parent = hashes[-1] if hashes else root_hash(salt)
    for start in range(len(hashes) * block_tokens, blocks * block_tokens, block_tokens):
        parent = block_hash(parent, tokens[start : start + block_tokens])
        hashes.append(parent)
