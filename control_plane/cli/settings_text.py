"""The text of a settings file with some settings changed; comments and order stay (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_KEY = re.compile(r"\s*([A-Za-z0-9_]+)\s*=")


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """`text` in TOML, with these lines in the place of those of the same settings, or after the
    last line that is in no table."""
    left = dict(settings)
    lines: list[str] = []
    end: int | None = None
    for line in text.splitlines():
        if line.lstrip().startswith("[") and end is None:
            end = len(lines)  # what follows is in a table
        key = _KEY.match(line)
        if end is None and key is not None and key[1] in left:
            line = _line(key[1], left.pop(key[1]))
        lines.append(line)
    end = len(lines) if end is None else end
    lines[end:end] = [_line(name, value) for name, value in left.items()]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, value: str) -> str:
    """A TOML basic string is written as JSON writes it."""
    return f"{name} = {json.dumps(value)}"
