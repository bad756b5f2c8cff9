"""A CSV trace (plain or gzip), read row by row and checked."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO, cast

from loadtests.traces.request import MalformedTrace, TraceRequest

Row = dict[str, str]


def open_text(path: Path) -> TextIO:
    """
    Raises:
        MalformedTrace: it cannot be opened.
    """
    try:
        if path.suffix == ".gz":
            return cast(TextIO, gzip.open(path, "rt", encoding="utf-8", newline=""))
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise MalformedTrace(f"{path}: {error.strerror or error}") from error


def read_table(
    path: Path, columns: Sequence[str], seconds: Callable[[str], float]
) -> Iterator[TraceRequest]:
    """Requests of a CSV file in the order of its rows.

    Args:
        columns: the names of the arrival, prompt-token and output-token columns.
        seconds: reads an arrival; the first one becomes 0.

    Raises:
        MalformedTrace: a column is missing, a value makes no sense, or time runs backwards.
    """
    with open_text(path) as file:
        rows = csv.DictReader(file)
        missing = [name for name in columns if name not in (rows.fieldnames or [])]
        if missing:
            raise MalformedTrace(f"{path}: no column {missing[0]!r}")
        arrival, prompt, output = columns
        start_s: float | None = None
        last_s = 0.0
        for row in rows:
            where = f"{path}:{rows.line_num}"
            try:
                at_s = seconds(row[arrival])
                request = (int(row[prompt]), int(row[output]))
            except (TypeError, ValueError) as error:
                raise MalformedTrace(f"{where}: {error}") from error
            start_s = at_s if start_s is None else start_s
            last_s = checked(where, at_s - start_s, request, last_s)
            yield TraceRequest(last_s, *request)


def checked(where: str, arrival_s: float, tokens: tuple[int, int], last_s: float) -> float:
    """The arrival, if it and the token counts make sense."""
    if not math.isfinite(arrival_s) or arrival_s < last_s:
        raise MalformedTrace(f"{where}: arrives before the request above it")
    if min(tokens) < 0:
        raise MalformedTrace(f"{where}: a negative number of tokens")
    return arrival_s
