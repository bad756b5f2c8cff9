"""What the text of an answer turns out to be, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """Text for whoever reads the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallOpened:
    """The next call, numbered from 0 in its answer; its arguments follow."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsGrown:
    """More of the JSON text of a call's arguments, as the model wrote it."""

    index: int
    text: str


Piece = Content | CallOpened | ArgumentsGrown
