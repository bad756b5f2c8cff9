"""Counter-based noise: a hash of (seed, choice, index, token id), the same in any batch.

64-bit integer arithmetic that wraps, so that every device computes the same bits (the finaliser of
SplitMix64; Steele, Lea and Flood, 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def gumbel_noise(seed: int, choice: int, index: int, token_ids: Tensor) -> Tensor:
    """Standard Gumbel noise of each token id: fp64, in the shape of `token_ids` (int64).

    The largest of logits / temperature + noise is a sample of the softmax (the Gumbel-max trick).
    """
    counter = stream_key(seed, choice, index) + token_ids * _signed(_GOLDEN)
    bits = _logical_shift(_mix_tensor(counter), 11)
    uniform = (bits.double() + 0.5) * 2.0**-53
    return -torch.log(-torch.log(uniform))


def stream_key(seed: int, choice: int, index: int) -> int:
    """The hash of all that does not vary over the vocabulary, as a signed 64-bit number."""
    key = 0
    for part in (seed, choice, index):
        key = _mix((key + part + _GOLDEN) & _MASK)
    return _signed(key)


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
