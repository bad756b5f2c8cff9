"""The spans that the processes of one machine wrote to a file (`TAMER_TRACE_FILE`).

Times are put back on the monotonic clock that all processes of a machine share, so that times of
two processes may be subtracted. That would mean nothing for two machines.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from infra.tracing.setup import CLOCK_OFFSET


class Span(NamedTuple):
    name: str
    began_ns: int
    ended_ns: int

    @property
    def elapsed_ms(self) -> float:
        return ms(self.began_ns, self.ended_ns)


def ms(began_ns: int, ended_ns: int) -> float:
    return (ended_ns - began_ns) / 1e6


class _Value(msgspec.Struct):
    int_value: str = msgspec.field(name="intValue", default="")


class _Attribute(msgspec.Struct):
    key: str
    value: _Value


class _Resource(msgspec.Struct):
    attributes: list[_Attribute] = []

    @property
    def clock_offset_ns(self) -> int:
        [offset] = [each.value for each in self.attributes if each.key == CLOCK_OFFSET]
        return int(offset.int_value)


class _Written(msgspec.Struct, rename="camel"):
    trace_id: str
    name: str
    start_time_unix_nano: str
    end_time_unix_nano: str


class _Scoped(msgspec.Struct):
    spans: list[_Written]


class _Process(msgspec.Struct, rename="camel"):
    resource: _Resource
    scope_spans: list[_Scoped]


class _Line(msgspec.Struct, rename="camel"):
    resource_spans: list[_Process]


def read_spans(path: Path) -> dict[str, list[Span]]:
    """By trace id, in no order. A file that is not there yet has none; a line that is still being
    written is left out."""
    found: dict[str, list[Span]] = defaultdict(list)
    if not path.exists():
        return found
    *lines, _ = path.read_bytes().split(b"\n")
    for line in lines:
        for process in msgspec.json.decode(line, type=_Line).resource_spans:
            offset_ns = process.resource.clock_offset_ns
            for span in (each for scoped in process.scope_spans for each in scoped.spans):
                began_ns = int(span.start_time_unix_nano) - offset_ns
                ended_ns = int(span.end_time_unix_nano) - offset_ns
                found[span.trace_id].append(Span(span.name, began_ns, ended_ns))
    return found
