"""`tamer logs`: what the replicas of a deployment write."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient
from control_plane.cli.log_line import LogLine
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen
from infra.settings import Settings

_LOOK_EVERY_S = 0.5


def logs(
    name: Annotated[str, typer.Argument(help="A deployment, or the id of one replica.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as new lines are written.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the log lines of live replicas (of the last one that ended, where none lives).

    With --json each line is one object: its fields, or "line" for what is no JSON, and "replica".
    """
    asyncio.run(_logs(Screen(as_json), name, follow))


async def _logs(screen: Screen, name: str, follow: bool) -> None:
    """Positions are kept for each replica, so that no line is printed twice."""
    positions: dict[str, str] = {}
    async with ApiClient.of(Settings()) as client:
        while True:
            replicas = await _replicas(client, name)
            if not replicas and not positions:
                screen.note(f"{name} has had no replica yet")
            for replica_id in replicas:
                for text in await _new_lines(client, replica_id, positions):
                    _show(screen, replica_id, LogLine.read(text), prefixed=len(replicas) > 1)
            if not follow:
                break
            await asyncio.sleep(_LOOK_EVERY_S)


def _show(screen: Screen, replica_id: str, line: LogLine, prefixed: bool) -> None:
    if screen.as_json:
        screen.json_line(line.as_json(replica_id))
    else:
        screen.line(f"{replica_id}  {line.for_people()}" if prefixed else line.for_people())


async def _replicas(client: ApiClient, name: str) -> list[str]:
    """Ids of the replicas whose lines are wanted.

    Raises:
        CommandError: neither a deployment nor a replica has this name.
    """
    if await client.find(f"/deployments/{name}") is None:
        replica = await client.find(f"/replicas/{name}")
        if replica is not None:
            return [str(replica["id"])]
    live = await client.list(f"/deployments/{name}/replicas")
    found = live or await client.list(f"/deployments/{name}/replicas", most=1, ended="true")
    return [str(each["id"]) for each in reversed(found)]


async def _new_lines(client: ApiClient, replica_id: str, positions: dict[str, str]) -> list[str]:
    lines: list[str] = []
    while True:
        after = positions.get(replica_id, "0")
        page = await client.get(f"/replicas/{replica_id}/logs", after=after)
        positions[replica_id] = str(page["next"])
        if not page["lines"]:
            return lines
        lines += page["lines"]
