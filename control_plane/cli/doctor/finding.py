"""One line of a doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    subject: str
    said: str
    advice: str = ""
    """What to type or to set; empty where nothing is to be done."""


def ok(subject: str, said: str) -> Finding:
    return Finding(Level.OK, subject, said)


def warn(subject: str, said: str, advice: str = "") -> Finding:
    return Finding(Level.WARN, subject, said, advice)


def fail(subject: str, said: str, advice: str = "") -> Finding:
    return Finding(Level.FAIL, subject, said, advice)
