"""The records of a load test on disk: one JSON object a line, written as requests end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from loadtests.statistics.record import RequestRecord


class MalformedLog(ValueError):
    """A line that is no record; the message names file and line."""


class RecordLog:
    """Appends records; what is written stays if the test is killed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._encode = msgspec.json.Encoder().encode

    def append(self, record: RequestRecord) -> None:
        self._file.write(self._encode(record) + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_records(path: Path) -> list[RequestRecord]:
    """All whole lines of a log; a last line that was cut short by a kill is left out.

    Raises:
        MalformedLog: another line is no record.
    """
    lines = path.read_bytes().split(b"\n")[:-1]
    decoder = msgspec.json.Decoder(RequestRecord)
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(decoder.decode(line))
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise MalformedLog(f"{path}:{number}: {error}") from error
    return records
