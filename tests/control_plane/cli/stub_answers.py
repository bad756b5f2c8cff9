"""What the server says, as far as commands look at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Tamer = Callable[..., tuple[int, str, str]]
"""`tamer` with arguments -> exit code, stdout, stderr."""

SPEC = {"name": "chat", "model": "smollm2", "scaling": {"min_replicas": 1, "max_replicas": 2}}


def deployment(state: str = "ready", **changed: Any) -> dict[str, Any]:
    return {
        "id": "dep-1",
        "name": "chat",
        "model": "smollm2",
        "generation": 1,
        "state": state,
        "reason": "",
        "target_replicas": 1,
        "revision": {"id": "rev-1"},
        "spec": SPEC,
        **changed,
    }


def replica(state: str = "ready", revision_id: str = "rev-1") -> dict[str, Any]:
    return {"id": "rep-1", "state": state, "revision_id": revision_id}


def page(*entries: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"data": list(entries), "next_cursor": None}


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)
