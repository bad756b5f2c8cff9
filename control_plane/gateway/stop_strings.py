"""Stop strings over text that arrives in pieces (pure)."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to the first stop string; what follows it is cut off, and it as well
    unless `include` says otherwise.

    Which one is first does not depend on how the text is cut into pieces: the one that is complete
    first, and of those that end together the longest.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._include = include
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The part of the text so far that is safe to show and was not shown yet."""
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        text = self._held + text
        cut = self._first_match(text)
        if cut is not None:
            self.stopped, self._held = True, ""
            return text[:cut]
        safe = len(text) - self._possible_prefix(text)
        self._held = text[safe:]
        return text[:safe]

    def flush(self) -> str:
        """What was held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, text: str) -> int | None:
        """Where the text is cut by the winning stop string."""
        found = [(start, len(stop)) for stop in self._stops if (start := text.find(stop)) >= 0]
        if not found:
            return None
        end, start = min((start + length, start) for start, length in found)
        return end if self._include else start

    def _possible_prefix(self, text: str) -> int:
        """Length of the longest end of the text that a stop string may begin with."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
