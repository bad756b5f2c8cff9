"""Where a JSON object ends, in text that arrives in pieces (pure)."""

from __future__ import annotations

import re

_NOTABLE = re.compile(r'["\\{}\[\]]')


class JsonScan:
    """Follows brackets and strings only: what it calls whole may still be no JSON."""

    def __init__(self, depth: int = 0) -> None:
        """`depth`: brackets that are open before the text begins."""
        self._depth = depth
        self._in_string = False
        self._escaped = False

    def end(self, text: str) -> int | None:
        """Where in the next piece of text the outermost bracket closes (just behind it); None where
        it does not."""
        place = 0
        while place < len(text):
            if self._escaped:
                self._escaped = False
                place += 1
                continue
            found = _NOTABLE.search(text, place)
            if found is None:
                return None
            place = found.end()
            if self._take(found[0]):
                return place
        return None

    def _take(self, mark: str) -> bool:
        if self._in_string:
            self._escaped = mark == "\\"
            self._in_string = mark != '"'
        elif mark == '"':
            self._in_string = True
        elif mark in "{[":
            self._depth += 1
        elif mark in "}]":
            self._depth -= 1
            return self._depth <= 0
        return False
