"""Calls in text that arrives in pieces (pure).

A call is taken for one as soon as its head is there: the name of a function that was offered, and
the bracket that opens its arguments. From then on its arguments are passed on as they come, as
OpenAI does, even where they turn out to be no JSON. Whatever does not get so far is content. What
comes out does not depend on how the text is cut into pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.gateway.tools.json_scan import JsonScan
from control_plane.gateway.tools.pieces import ArgumentsGrown, CallOpened, Content, Piece

_HEAD = re.compile(
    r'\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,'
    r'\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)


@dataclass(frozen=True, slots=True)
class Marks:
    """What surrounds the calls of an answer."""

    opening: str
    closing: str = ""
    """Empty: nothing but the end of the answer closes a block of calls."""
    inner: tuple[str, ...] = ()
    """Marks within a call."""
    bare: bool = False
    """Whether an answer that begins with a bracket is a call as well."""
    separators: str = " \t\r\n[],;"
    """What may stand around the calls of one block."""


class CallParser:
    """Calls as JSON objects with a `name` and `arguments` (or `parameters`), alone or in a list."""

    def __init__(self, marks: Marks, names: frozenset[str], parallel: bool = True) -> None:
        """`names`: the functions that were offered; not `parallel`: only the first call counts."""
        self.marks = marks
        self._names = names
        self._parallel = parallel
        self.calls = 0
        """How many have been found so far."""
        self.buffer = ""
        """What is not decided yet."""
        self._passed = ""
        """What of an open block stands before the buffer: content, should no call follow."""
        self._called = False
        """Whether the open block had a call."""
        self._space = ""
        """White space that is content only if content follows."""
        self._scan = JsonScan()
        self._scanned_chars = 0
        self._said: list[Piece] = []
        self.state: Callable[[], bool] = self._start if marks.bare else self._outside
        """Decides what it can of the buffer, and says whether to go on."""

    def push(self, text: str) -> list[Piece]:
        """What is certain now and was not before."""
        self.buffer += text
        while self.buffer and self.state():
            pass
        return self._take_said()

    def flush(self) -> list[Piece]:
        """The rest, now that no more text comes."""
        if self.state in (self._start, self._outside, self._between, self.head):
            self._say(self.buffer if self._called else self._passed + self.buffer)
        if self._space and not self.calls:
            self._said.append(Content(self._space))
        self.buffer = self._passed = self._space = ""
        self.state = self._ignore
        return self._take_said()

    # --- states ---

    def _start(self) -> bool:
        text = self.buffer.lstrip()
        if not text:
            return False
        self.state = self._between if text[0] == "{" else self._outside
        return True

    def _outside(self) -> bool:
        opening = self.marks.opening
        place = self.buffer.find(opening)
        if place < 0:
            safe = len(self.buffer) - _possible_prefix(self.buffer, opening)
            self._say(self.buffer[:safe])
            self.buffer = self.buffer[safe:]
            return False
        self._say(self.buffer[:place])
        self.buffer = self.buffer[place + len(opening) :]
        self._passed, self._called, self.state = opening, False, self._between
        return True

    def _between(self) -> bool:
        """In a block, before a call or the end of the block."""
        rest, closing = self.buffer.lstrip(self.marks.separators), self.marks.closing
        self._passed += self.buffer[: len(self.buffer) - len(rest)]
        self.buffer = rest
        if closing and rest.startswith(closing):
            self._passed += closing
            self.buffer = rest[len(closing) :]
            self.leave()
        elif self.may_begin(rest):
            self._scan, self._scanned_chars, self.state = JsonScan(), 0, self.head
        elif rest and not closing.startswith(rest):
            self.leave()
        else:
            return False
        return True

    def may_begin(self, text: str) -> bool:
        """Whether a call may begin with this text."""
        return text.startswith("{")

    def head(self) -> bool:
        """From the beginning of a call to that of its arguments."""
        found = _HEAD.match(self.buffer)
        if found is not None:
            self.open_call(_read(found[1]), found.end())
            return True
        end = self._scan.end(self.buffer[self._scanned_chars :])
        if end is None:
            self._scanned_chars = len(self.buffer)
            return False
        self._take_whole(self._scanned_chars + end)
        return True

    def _arguments(self) -> bool:
        end = self._scan.end(self.buffer)
        text = self.buffer[:end]
        self._said.append(ArgumentsGrown(self.calls - 1, text))
        self.buffer = self.buffer[len(text) :]
        if end is not None:
            self.state = self._behind
        return end is not None

    def _behind(self) -> bool:
        """After a call's arguments: the end of its object, which models sometimes forget."""
        self.buffer = self.buffer.lstrip()
        if self.buffer.startswith(","):
            self._scan, self.state = JsonScan(depth=1), self._fields
        elif self.buffer:
            self.buffer = self.buffer.removeprefix("}")
            self.state = self._between
        return bool(self.buffer)

    def _fields(self) -> bool:
        """Fields of a call that mean nothing."""
        end = self._scan.end(self.buffer)
        self.buffer = "" if end is None else self.buffer[end:]
        if end is not None:
            self.state = self._between
        return end is not None

    def _ignore(self) -> bool:
        self.buffer = ""
        return False

    # --- steps ---

    def open_call(self, name: object, arguments_at: int) -> None:
        """A head is there: a call if such a function was offered."""
        if self._begin(name):
            self.buffer = self.buffer[arguments_at:]
            self._scan, self.state = JsonScan(), self._arguments

    def _take_whole(self, end: int) -> None:
        """A call whose fields stand in another order."""
        call = _read(self.buffer[:end])
        fields = call if isinstance(call, dict) else {}
        arguments = fields.get("arguments", fields.get("parameters"))
        if not isinstance(arguments, dict):
            self.leave()
        elif self._begin(fields.get("name")):
            written = json.dumps(arguments, ensure_ascii=False)
            self._said.append(ArgumentsGrown(self.calls - 1, written))
            self.buffer, self.state = self.buffer[end:], self._between

    def _begin(self, name: object) -> bool:
        """Open the next call; False where there is none, or it is one too many."""
        if name not in self._names:
            self.leave()
            return False
        if self.calls and not self._parallel:
            self.state = self._ignore
            return False
        self._said.append(CallOpened(self.calls, str(name)))
        self.calls += 1
        self._called, self._passed, self._space = True, "", ""
        return True

    def leave(self) -> None:
        """The block ends here, or was none: then what stood in it is content."""
        if not self._called:
            self._say(self._passed)
        self._passed, self._called, self.state = "", False, self._outside

    def _say(self, text: str) -> None:
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown:
            self._said.append(Content(shown))

    def _take_said(self) -> list[Piece]:
        said, self._said = self._said, []
        return said


def _possible_prefix(text: str, mark: str) -> int:
    """Length of the longest end of the text that the mark may begin with."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-length:]):
            return length
    return 0


def _read(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
