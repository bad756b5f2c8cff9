"""What differs between two specs of a deployment, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from control_plane.cli.api_client import Json
from control_plane.cli.screen import Screen


def changes(before: Any, after: Any, path: str = "") -> Iterator[Json]:
    """Every field whose value differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from changes(before.get(key), after.get(key), f"{path}.{key}".removeprefix("."))
    elif before != after:
        yield {"field": path, "from": before, "to": after}


def show_applied(screen: Screen, name: str, applied: Json, created: bool) -> None:
    """`applied`: the API's answer, with its "changes"."""
    if created:
        screen.line(f"{name}: created")
    elif not applied["changed"]:
        screen.line(f"{name}: unchanged")
    else:
        screen.line(f"{name}: changed (generation {applied['deployment']['generation']})")
        show_changes(screen, applied["changes"])


def show_changes(screen: Screen, found: list[Json]) -> None:
    for change in found:
        screen.line(f"  {change['field']}: {_shown(change['from'])} -> {_shown(change['to'])}")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
