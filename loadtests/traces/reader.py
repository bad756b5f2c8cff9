"""Finds the reader of a request trace by the first line of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loadtests.traces import azure, servegen
from loadtests.traces.azure import read_azure
from loadtests.traces.mooncake import read_mooncake
from loadtests.traces.request import MalformedTrace, TraceRequest
from loadtests.traces.servegen import read_servegen
from loadtests.traces.table import open_text


def read_requests(path: Path) -> Iterator[TraceRequest]:
    """Recorded requests, first one at 0 s.

    Raises:
        MalformedTrace: no reader knows such a file (at once), or a line is wrong (when it is read).
    """
    with open_text(path) as file:
        try:
            first = file.readline()
        except (OSError, UnicodeDecodeError) as error:
            raise MalformedTrace(f"{path}: {error}") from error
    columns = set(first.strip().split(","))
    if columns >= set(azure.COLUMNS):
        return read_azure(path)
    if columns >= set(servegen.COLUMNS):
        return read_servegen(path)
    if first.startswith("{") and '"input_length"' in first:
        return read_mooncake(path)
    raise MalformedTrace(
        f"{path}: not a known request trace; it needs the columns {', '.join(azure.COLUMNS)}, "
        f"or {', '.join(servegen.COLUMNS)}, or JSON lines with timestamp, input_length and "
        "output_length"
    )
