"""What there is to know of how a family of models writes calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from control_plane.gateway.tools.parser import CallParser, Marks

MakeParser = Callable[[Marks, frozenset[str], bool], CallParser]


@dataclass(frozen=True, slots=True)
class Written:
    """How a call looks that a grammar makes the model write: before and after the JSON text of its
    arguments, `{name}` being the JSON text of the function's name without its quotes."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    """As logs of durable requests know it."""
    template_marks: tuple[str, ...]
    """A chat template that has all of these is of this family."""
    marks: Marks
    call: Written
    first: str = ""
    """Before the first call."""
    between: str = ""
    """Before each further call; empty: an answer has one call at most."""
    last: str = ""
    """After the last call."""
    parser: MakeParser = CallParser
    short_ids: bool = False
    """Whether its chat templates take call ids of nine characters only."""

    @property
    def shown_tokens(self) -> frozenset[str]:
        """Special tokens that a parser has to see, although they are no text to anybody else."""
        return frozenset({self.marks.opening, self.marks.closing, *self.marks.inner} - {""})
