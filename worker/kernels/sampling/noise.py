"""Counter-based noise: a hash of (seed, choice, index, token id), the same in any batch.

64-bit integer arithmetic that wraps, so that every device computes the same bits (the finaliser of
SplitMix64; Steele, Lea and Flood, 2014).

Noise is made top down (as in A* sampling; Maddison, Tarlow and Minka, 2014): a block of token ids
has its largest noise and the id that has it from one hash; what the others have below that comes
from one hash each. So whoever looks for a maximum can skip blocks without looking into them.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

BLOCK_TOKENS = 64
BLOCK_COUNTER = 1 << 40
"""Blocks are counted from here on, tokens from 0."""
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_STREAMS = 1 << 16


def gumbel_noise(keys: Tensor, token_ids: Tensor) -> Tensor:
    """Standard Gumbel noise, independent for each key and token id: fp64.

    The largest of logits / temperature + noise is a sample of the softmax (the Gumbel-max trick).

    Args:
        keys: int64, of `stream_key`.
        token_ids: int64; both broadcast to the shape of the result.
    """
    blocks = torch.div(token_ids, BLOCK_TOKENS, rounding_mode="floor")
    return noise_in_blocks(keys, token_ids, *block_noise(keys, blocks))


def noise_in_blocks(keys: Tensor, token_ids: Tensor, least: Tensor, place: Tensor) -> Tensor:
    """`gumbel_noise` of tokens whose `block_noise` is known; all broadcast."""
    # Of independent exponentials one is the least; the others exceed it by exponentials again.
    more = -torch.log(_uniform(_bits(keys, token_ids)))
    return -torch.log(least + more.masked_fill_(token_ids % BLOCK_TOKENS == place, 0))


def block_noise(keys: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The least exponential of each block (fp64), whose negative logarithm is the block's largest
    noise, and the place in the block that has it (int64)."""
    bits = _bits(keys, blocks + BLOCK_COUNTER)
    return torch.log(_uniform(bits)) / -BLOCK_TOKENS, bits & (BLOCK_TOKENS - 1)


def stream_key(seed: int, choice: int, index: int) -> int:
    """The hash of all that does not vary over the vocabulary, as a signed 64-bit number."""
    return _signed(_mix((_stream(seed, choice) + index + _GOLDEN) & _MASK))


@lru_cache(_STREAMS)
def _stream(seed: int, choice: int) -> int:
    """What all tokens of a sequence have in common."""
    key = _mix((seed + _GOLDEN) & _MASK)
    return _mix((key + choice + _GOLDEN) & _MASK)


def _bits(keys: Tensor, counters: Tensor) -> Tensor:
    return _mix_tensor(keys + counters * _signed(_GOLDEN))


def _uniform(bits: Tensor) -> Tensor:
    """The upper 53 bits as a number between 0 and 1, neither included."""
    return (_logical_shift(bits, 11).double() + 0.5) * 2.0**-53


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _mix_tensor(value: Tensor) -> Tensor:
    value = (value ^ _logical_shift(value, 30)) * _signed(_FIRST)
    value = (value ^ _logical_shift(value, 27)) * _signed(_SECOND)
    return value ^ _logical_shift(value, 31)


def _logical_shift(value: Tensor, bits: int) -> Tensor:
    """int64 shifts keep the sign, so the bits that it smears are cleared."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
