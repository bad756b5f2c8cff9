"""What the user sees: data on stdout, notes on stderr, colours only where somebody looks."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNLIMITED_COLUMNS = 100_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GOOD = {"ready", "joined", "succeeded", "idle"}
_BAD = {"failed", "lost", "degraded", "revoked"}


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


_structure: ContextVar[Format] = ContextVar("structure", default=Format.JSON)


@contextmanager
def structured_as(structure: Format) -> Iterator[None]:
    """Within it `Screen.json` writes YAML, if that is wanted."""
    token = _structure.set(structure)
    try:
        yield
    finally:
        _structure.reset(token)


class Screen:
    """`as_json`: data is one JSON (or YAML) document instead of a table."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)
        self._line_is_open = False

    def note(self, text: str) -> None:
        """One line for a person: progress, hints, results of an action.

        Where both streams are the same terminal, it does not go into the middle of a text.
        """
        if self.err.is_terminal:
            self.end_line()
        self.err.print(Text(printable(text)), soft_wrap=True)

    def line(self, text: str) -> None:
        """One line of data; it ends a text that was streamed."""
        self._line_is_open = False
        self.out.print(Text(printable(text)), soft_wrap=True)

    def json(self, body: Any) -> None:
        if _structure.get() is Format.YAML:
            print(_yaml(body), end="")
        else:
            print(json.dumps(body, indent=2, ensure_ascii=False))

    def json_line(self, body: Any) -> None:
        """One entry of data that never ends: a line of JSON, or a document of YAML."""
        if _structure.get() is Format.YAML:
            print(f"---\n{_yaml(body)}", end="", flush=True)
        else:
            print(json.dumps(body, ensure_ascii=False), flush=True)

    def stream(self, text: str) -> None:
        """A piece of a text that is still being written."""
        sys.stdout.write(printable(text) if self.out.is_terminal else text)
        sys.stdout.flush()
        if text:
            self._line_is_open = not text.endswith("\n")

    def end_line(self) -> None:
        """On a terminal, let what comes next begin on a line of its own."""
        if self._line_is_open and self.out.is_terminal:
            self.stream("\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        with self.out.capture() as drawn:
            self.out.print(table)
        for line in drawn.get().splitlines():  # without what fills a row up to the longest one
            self.out.file.write(line.rstrip() + "\n")


def _yaml(body: Any) -> str:
    return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True))


def printable(text: str) -> str:
    """Without what a terminal would obey."""
    return _CONTROL.sub("", text)


def when(epoch_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_s))


def size(count_bytes: int) -> str:
    value = float(count_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _console(stream: Any) -> Console:
    width = None if stream.isatty() else _UNLIMITED_COLUMNS
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def _cell(value: object) -> Text:
    text = printable("-" if value is None or value == "" else str(value))
    style = "green" if text in _GOOD else "red" if text in _BAD else ""
    return Text(text, style=style)
