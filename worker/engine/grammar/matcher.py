"""Where one output stands in its grammar."""

from __future__ import annotations

from collections.abc import Sequence

from llguidance import LLMatcher

from infra.grammar import shortened


class GrammarBroken(RuntimeError):
    """The output cannot go on under its grammar; the text says why."""


class Matcher:
    """Follows the tokens of one output; `native` must be fresh and nobody else's."""

    def __init__(self, native: LLMatcher, end_token: int, delivered: Sequence[int] = ()) -> None:
        """`end_token`: ends an output whose grammar allows nothing else. `delivered`: output of
        earlier attempts.

        Raises:
            GrammarBroken: it does not match the grammar.
        """
        self.native = native
        self.end_token = end_token
        self.position = 0
        """Tokens of the output that the grammar has seen."""
        self._lost = ""
        for token in delivered:
            self.take(token)

    @property
    def ended(self) -> bool:
        """Whether the output matches and nothing but its end may follow."""
        return bool(self.native.is_stopped()) and not self.error

    def take(self, token: int) -> None:
        """Raises GrammarBroken: the token may not stand here, or the library has given up."""
        if not self.native.consume_token(token):
            raise GrammarBroken(f"token {token} at {self.position}: {self.error or 'not allowed'}")
        self.position += 1

    def go_to(self, position: int) -> None:
        """Be where the first `position` tokens of the output lead: later ones were dropped."""
        if position > self.position:
            self._lost = f"it has not seen the tokens {self.position} to {position - 1}"
        elif position < self.position:
            self.native.rollback(self.position - position)
            self.position = position

    @property
    def error(self) -> str:
        """Why this output cannot be followed any more; empty where it can."""
        return self._lost or shortened(self.native.get_error())
