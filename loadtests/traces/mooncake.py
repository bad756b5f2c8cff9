"""Mooncake's request traces (Qin et al., "Mooncake", FAST 2025): JSON lines, milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from loadtests.traces.request import MalformedTrace, TraceRequest
from loadtests.traces.table import checked, open_text


class _Line(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int


def read_mooncake(path: Path) -> Iterator[TraceRequest]:
    """
    Raises:
        MalformedTrace: a line is not one of its requests, or time runs backwards.
    """
    decoder = msgspec.json.Decoder(_Line)
    start_s: float | None = None
    last_s = 0.0
    with open_text(path) as file:
        for number, text in enumerate(file, start=1):
            try:
                line = decoder.decode(text)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                raise MalformedTrace(f"{path}:{number}: {error}") from error
            at_s = line.timestamp / 1000
            start_s = at_s if start_s is None else start_s
            tokens = (line.input_length, line.output_length)
            last_s = checked(f"{path}:{number}", at_s - start_s, tokens, last_s)
            yield TraceRequest(last_s, *tokens)
