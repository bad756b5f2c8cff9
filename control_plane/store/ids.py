"""Ids of rows: a prefix that tells the noun, then time, then chance: they sort by creation."""

from __future__ import annotations

import secrets
import time
from enum import StrEnum

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, whose order is the order of its digits."""
_TIME_DIGITS = 10
_CHANCE_DIGITS = 14


class Prefix(StrEnum):
    MODEL = "mod"
    DEPLOYMENT = "dep"
    REPLICA = "rep"
    INSTANCE = "ins"
    MACHINE = "mac"
    OPERATION = "op"
    DECISION = "dec"
    KEY = "key"
    AUDIT_EVENT = "aud"
    START = "sta"
    ROLLOUT = "rol"


def new_id(prefix: Prefix) -> str:
    """E.g. `dep-06c1q8vv3t7k4m2zx9p0hw5r`: `[a-z0-9-]+`, milliseconds and 70 random bits.

    The time in it only makes rows and index pages lie in order; nothing is decided by it.
    """
    milliseconds = time.time_ns() // 1_000_000
    chance = secrets.randbits(5 * _CHANCE_DIGITS)
    return f"{prefix}-{_digits(milliseconds, _TIME_DIGITS)}{_digits(chance, _CHANCE_DIGITS)}"


def _digits(number: int, width: int) -> str:
    return "".join(_ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(width)))
