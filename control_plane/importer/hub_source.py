"""What `hf://ORG/MODEL[@REVISION][#COMMIT]` says: what was asked for, and what that was then."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REVISION = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}"
_SOURCE = re.compile(rf"hf://({_NAME}/{_NAME})(?:@({_REVISION}))?(?:#([0-9a-f]{{40}}))?")
DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class HubSource:
    repository: str
    """org/model"""
    asked: str
    """The source without a commit behind `#`."""
    revision: str
    """What to fetch: a branch, a tag or a commit."""

    def at(self, commit: str) -> str:
        """What was asked for, and the commit that it was."""
        return f"{self.asked}#{commit}"


def parse_hub(source: str) -> HubSource:
    """Raises ValueError: this is no source on the hub."""
    match = _SOURCE.fullmatch(source)
    if match is None or ".." in source or "--" in match[1]:
        raise ValueError(f"{source!r} is not hf://ORG/MODEL or hf://ORG/MODEL@REVISION")
    asked = source.partition("#")[0]
    return HubSource(match[1], asked, match[3] or match[2] or DEFAULT_REVISION)


def asks_for(recorded: str, wanted: str) -> bool:
    """Whether a model with the recorded source is what `wanted` asks for: a model stays what it
    was when it was imported, even if a branch has moved on."""
    return wanted in (recorded, recorded.partition("#")[0])
