"""Which kinds of requests a load test sends, and in what proportion."""

from __future__ import annotations

from enum import StrEnum
from random import Random


class Kind(StrEnum):
    CHAT = "chat"
    """One question, one answer."""
    COMPLETION = "completion"
    """A text to go on with."""
    CONVERSATION = "conversation"
    """Several turns; each sends all that was said before."""


Mix = dict[Kind, int]


def read_mix(text: str) -> Mix:
    """`chat=2,conversation=1` -> weights; a kind without a number weighs 1.

    Raises:
        ValueError: an unknown kind, a weight below 0, or nothing at all.
    """
    mix: Mix = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        try:
            mix[Kind(name)] = int(weight or 1)
        except ValueError as error:
            known = ", ".join(Kind)
            raise ValueError(f"{part.strip()!r} is not KIND=WEIGHT (kinds: {known})") from error
    if min(mix.values()) < 0 or sum(mix.values()) == 0:
        raise ValueError("weights are not negative, and one of them is above 0")
    return mix


def choose(mix: Mix, random: Random) -> Kind:
    [kind] = random.choices(list(mix), weights=list(mix.values()))
    return kind
