"""Durations as people write them: 90s, 30m, 2h, 1d, 1h30m."""

from __future__ import annotations

import re

import typer

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PARTS = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds(text: str) -> float:
    """Raises typer.BadParameter: it is no duration."""
    found = _PARTS.findall(text)
    total = sum(float(count) * _UNITS[unit] for count, unit in found)
    if "".join(count + unit for count, unit in found) != text or total <= 0:
        raise typer.BadParameter(f"'{text}' is no time; say 90s, 30m, 2h or 1d")
    return total
