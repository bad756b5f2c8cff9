"""What has happened to deployments since the last look."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode

_SHOWN = ("state", "reason", "replicas", "target_replicas", "min_replicas", "max_replicas")
_NEWEST = 20
"""Decisions of one deployment between two looks are fewer, or the oldest are left out."""


class Watching:
    """Events: {"event": "deployment" | "decision", "at": epoch s, "deployment": name, ...}.

    The first look tells how everything is; decisions of before are not told.
    """

    def __init__(self, client: ApiClient, name: str | None) -> None:
        self._client = client
        self._name = name
        self._known: dict[str, Json] = {}
        self._last_decision: dict[str, str] = {}
        self.began = False
        self.ended = False
        """The one deployment that is watched is gone."""

    async def look(self) -> AsyncIterator[Json]:
        """Events since the last look, decisions before the changes that came of them.

        Raises:
            CommandError: the server refuses or cannot be reached, or there is no such deployment.
        """
        present = {
            each["name"]: each
            for each in (await self._client.get("/status"))["deployments"]
            if self._name in (None, each["name"])
        }
        if self._name is not None and not present and not self.began:
            raise CommandError(
                f"there is no deployment '{self._name}'; 'tamer status' lists what there is",
                ExitCode.NOT_FOUND,
            )
        for name, deployment in present.items():
            for decision in await self._decisions(name):
                yield decision
            now = {part: deployment[part] for part in _SHOWN}
            if self._known.get(name) != now:
                self._known[name] = now
                yield _event("deployment", time.time(), name, now)
        for name in self._known.keys() - present.keys():
            del self._known[name]
            self._last_decision.pop(name, None)
            yield _event("deployment", time.time(), name, {"state": "deleted"})
        self.began = True
        self.ended = self._name is not None and not present

    async def _decisions(self, name: str) -> list[Json]:
        path = f"/deployments/{name}/decisions"
        try:
            newest = await self._client.list(path, most=_NEWEST)
        except CommandError as error:
            if error.code is ExitCode.NOT_FOUND:  # deleted since the status was read
                return []
            raise
        first_look = name not in self._known and not self.began
        last = self._last_decision.get(name, "")
        if newest:
            self._last_decision[name] = newest[0]["id"]
        if first_look:
            return []
        fresh = [each for each in newest if each["id"] > last]
        return [
            _event(
                "decision",
                each["created_at"],
                name,
                {part: each[part] for part in ("kind", "reason", "formula", "inputs", "outcome")},
            )
            for each in reversed(fresh)
        ]


def _event(kind: str, at: float, deployment: str, detail: Json) -> Json:
    return {"event": kind, "at": at, "deployment": deployment, **detail}
