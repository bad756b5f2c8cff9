"""Azure's LLM inference traces (AzurePublicDataset; Patel et al., "Splitwise", ISCA 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from loadtests.traces.request import TraceRequest
from loadtests.traces.table import read_table

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read_azure(path: Path) -> Iterator[TraceRequest]:
    return read_table(path, COLUMNS, _seconds)


def _seconds(timestamp: str) -> float:
    moment = datetime.fromisoformat(timestamp)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
