"""`tamer scale`: change how many replicas a deployment may have, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient
from control_plane.cli.changes import changes, show_applied
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson, TimeoutS
from control_plane.cli.screen import Screen
from control_plane.cli.waiting import wait_until_ready
from infra.settings import Settings


def scale(
    name: Annotated[str, typer.Argument(help="A deployment.")],
    low: Annotated[
        int | None, typer.Option("--min", metavar="N", help="Replicas at least.")
    ] = None,
    high: Annotated[
        int | None, typer.Option("--max", metavar="N", help="Replicas at most.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is ready.")] = False,
    timeout_s: TimeoutS = 600.0,
    as_json: AsJson = False,
) -> None:
    """Change the least and the most replicas of a deployment."""
    if low is None and high is None:
        raise CommandError(
            f"say how far: tamer scale {name} --min 1 --max 2 (one of them is enough)",
            ExitCode.USAGE,
        )
    bounds = {"min_replicas": low, "max_replicas": high}
    wanted = {field: count for field, count in bounds.items() if count is not None}
    asyncio.run(_scale(Screen(as_json), name, wanted, timeout_s if wait else None))


async def _scale(screen: Screen, name: str, wanted: dict[str, int], wait_s: float | None) -> None:
    async with ApiClient.of(Settings()) as client:
        before = (await client.get(f"/deployments/{name}"))["spec"]
        spec = {**before, "scaling": {**before["scaling"], **wanted}}
        applied = await client.put(f"/deployments/{name}", spec)
        applied["changes"] = list(changes(before, applied["deployment"]["spec"]))
        if not screen.as_json:
            show_applied(screen, name, applied, created=False)
        if wait_s is not None:
            applied["deployment"] = await wait_until_ready(client, screen, name, wait_s)
            if not screen.as_json:
                screen.line(f"{name}: {applied['deployment']['state']}")
    if screen.as_json:
        screen.json(applied)
