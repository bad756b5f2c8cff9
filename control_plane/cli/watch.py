"""`tamer watch`: follow what changes, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, when
from control_plane.cli.watching import Watching
from infra.settings import Settings


def watch(
    name: Annotated[str | None, typer.Argument(help="One deployment; all if left out.")] = None,
    every_s: Annotated[
        float, typer.Option("--every", min=0.05, metavar="SECONDS", help="Pause between looks.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Print changes of deployments and decisions about them as they happen, until Ctrl-C.

    With --json one object per line. With NAME it ends when that deployment is gone.
    """
    asyncio.run(_watch(Screen(as_json), name, every_s))


async def _watch(screen: Screen, name: str | None, every_s: float) -> None:
    """A server that goes away in the middle is waited for; one that was never there is an error."""
    away = False
    async with ApiClient.of(Settings()) as client:
        watching = Watching(client, name)
        while True:
            try:
                async for event in watching.look():
                    _show(screen, event)
                away = False
            except CommandError as error:
                if error.code is not ExitCode.UNREACHABLE or not watching.began:
                    raise
                if not away:
                    screen.note(f"{error}; still watching")
                away = True
            if watching.ended:
                return
            await asyncio.sleep(every_s)


def _show(screen: Screen, event: Json) -> None:
    if screen.as_json:
        screen.json_line(event)
    elif event["event"] == "decision":
        said = ": ".join(part for part in (event["reason"], event["formula"]) if part)
        screen.line(f"{when(event['at'])}  {event['deployment']}  {event['kind']}: {said}")
    else:
        screen.line(f"{when(event['at'])}  {event['deployment']}  {_said(event)}")


def _said(event: Json) -> str:
    """E.g. "deploying, 1 loading of 2 (0 of 2 replicas ready)"."""
    if event["state"] == "deleted":
        return "deleted"
    counts = event["replicas"].items()
    replicas = ", ".join(f"{count} {state}" for state, count in sorted(counts)) or "no replicas"
    reason = f" ({event['reason']})" if event["reason"] else ""
    return f"{event['state']}, {replicas}, target {event['target_replicas']}{reason}"
