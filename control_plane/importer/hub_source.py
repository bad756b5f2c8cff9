"""What `hf://ORG/MODEL[@REVISION]` says."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_SOURCE = re.compile(rf"hf://({_NAME}/{_NAME})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class HubSource:
    repository: str
    """org/model"""
    revision: str
    """A branch, a tag or a commit."""

    def at(self, commit: str) -> str:
        """The source of exactly this commit."""
        return f"hf://{self.repository}@{commit}"


def parse_hub(source: str) -> HubSource:
    """Raises ValueError: this is not `hf://ORG/MODEL[@REVISION]`."""
    match = _SOURCE.fullmatch(source)
    if match is None or ".." in source or "--" in match[1]:
        raise ValueError(f"{source!r} is not hf://ORG/MODEL or hf://ORG/MODEL@REVISION")
    return HubSource(match[1], match[2] or DEFAULT_REVISION)
