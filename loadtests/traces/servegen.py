"""Requests made after ServeGen's recorded rates and lengths (Xiang et al., Alibaba, 2025)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loadtests.traces.request import TraceRequest
from loadtests.traces.table import read_table

COLUMNS = ("arrival_s", "input_tokens", "output_tokens")


def read_servegen(path: Path) -> Iterator[TraceRequest]:
    return read_table(path, COLUMNS, float)
