"""One line of a replica's log: JSON of `infra.telemetry`, or what a library printed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

from control_plane.cli.api_client import Json
from control_plane.cli.screen import when

_PLAIN = re.compile(r"[^\s=\"]+")
_FIRST = ("timestamp", "level", "event")
_BELOW = ("exception", "stack")
"""Texts of many lines, shown under the line that they belong to."""


@dataclass(frozen=True, slots=True)
class LogLine:
    text: str
    fields: Json | None
    """None where it is no JSON object."""

    @classmethod
    def read(cls, text: str) -> LogLine:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        return cls(text, fields if isinstance(fields, dict) and "event" in fields else None)

    def as_json(self, replica_id: str) -> Json:
        """Its fields and whose they are; a line that has none is `line`."""
        fields = {"line": self.text} if self.fields is None else self.fields
        return {"replica": replica_id} | fields | {"replica": replica_id}

    def for_people(self) -> str:
        """E.g. "2026-11-22 12:06:59 info    lease taken job=job-1"; a raw line as it is."""
        if self.fields is None:
            return self.text
        shown = [_when(str(self.fields.get("timestamp", "")))]
        shown += [f"{self.fields.get('level', '')!s:7}", str(self.fields["event"])]
        shown += [
            f"{name}={_value(value)}"
            for name, value in self.fields.items()
            if name not in (*_FIRST, *_BELOW)
        ]
        below = [str(self.fields[name]) for name in _BELOW if self.fields.get(name)]
        return "\n".join([" ".join(part for part in shown if part), *below])


def _when(timestamp: str) -> str:
    """ISO 8601 as this machine's local time; anything else as it is."""
    try:
        return when(datetime.fromisoformat(timestamp).timestamp())
    except ValueError:
        return timestamp


def _value(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
