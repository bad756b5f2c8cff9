"""`tamer scale`: how many replicas a deployment may have, or shall have for a while."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient
from control_plane.cli.changes import changes, show_applied
from control_plane.cli.duration import seconds
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson, TimeoutS
from control_plane.cli.override import end_override, override
from control_plane.cli.screen import Screen
from control_plane.cli.waiting import wait_until_ready
from infra.settings import Settings

_LONGEST_D = 30


def scale(
    name: Annotated[str, typer.Argument(help="A deployment.")],
    replicas: Annotated[
        int | None,
        typer.Argument(metavar="[N]", min=0, help="With --for: exactly so many replicas."),
    ] = None,
    duration_s: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="TIME",
            parser=seconds,
            help="How long N holds, e.g. 30m or 2h; then the autoscaler decides again.",
        ),
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="End what --for began: the autoscaler decides.")
    ] = False,
    low: Annotated[
        int | None, typer.Option("--min", metavar="N", help="Replicas at least.")
    ] = None,
    high: Annotated[
        int | None, typer.Option("--max", metavar="N", help="Replicas at most.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all of it is ready.")] = False,
    timeout_s: TimeoutS = 600.0,
    as_json: AsJson = False,
) -> None:
    """Change the least and the most replicas of a deployment; or, with N and --for, order a number
    of them for a while, instead of what the autoscaler says."""
    bounds = {"min_replicas": low, "max_replicas": high}
    wanted = {field: count for field, count in bounds.items() if count is not None}
    ordered = replicas is not None or duration_s is not None
    screen, wait_s = Screen(as_json), timeout_s if wait else None
    if sum((bool(wanted), ordered, auto)) != 1:
        raise CommandError(_ways(name), ExitCode.USAGE)
    if wanted:
        asyncio.run(_scale(screen, name, wanted, wait_s))
    elif auto:
        asyncio.run(end_override(screen, name))
    elif replicas is None or duration_s is None:
        raise CommandError(_ways(name), ExitCode.USAGE)
    elif duration_s > _LONGEST_D * 86_400:
        said = f"--for: at most {_LONGEST_D}d; 'tamer scale {name} --min {replicas}' has no end"
        raise CommandError(said, ExitCode.USAGE)
    else:
        asyncio.run(override(screen, name, replicas, duration_s, wait_s))


def _ways(name: str) -> str:
    return (
        f"say how far: tamer scale {name} --min 1 --max 2 (one of them is enough), or for how "
        f"long: tamer scale {name} 3 --for 2h, or tamer scale {name} --auto to end that"
    )


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
