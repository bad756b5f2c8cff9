"""`tamer deploy`: make deployments what a file says."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json, ServerError
from control_plane.cli.changes import changes, show_applied
from control_plane.cli.dry_run import foretell
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.manifest import Manifest, located, read_manifests
from control_plane.cli.options import AsJson, TimeoutS
from control_plane.cli.screen import Screen
from control_plane.cli.waiting import wait_until_ready
from infra.settings import Settings


def deploy(
    argument: Annotated[str | None, typer.Argument(metavar="[FILE]", help="Same as -f.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="A YAML or JSON file; '-' reads stdin.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all of it is ready.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Change nothing: print what would change, run, cost and take."
        ),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Try a revision that was rolled back once more.")
    ] = False,
    timeout_s: TimeoutS = 600.0,
    as_json: AsJson = False,
) -> None:
    """Create or change deployments as FILE says, and print what changed."""
    if (file is None) == (argument is None):
        raise CommandError("name one file: tamer deploy -f FILE", ExitCode.USAGE)
    manifests = read_manifests(file or argument or "")
    if dry_run:
        asyncio.run(foretell(Screen(as_json), manifests, again))
    else:
        asyncio.run(_deploy(Screen(as_json), manifests, again, timeout_s if wait else None))


async def _deploy(
    screen: Screen, manifests: list[Manifest], again: bool, wait_s: float | None
) -> None:
    async with ApiClient.of(Settings()) as client:
        applied = [await _apply(client, screen, manifest, again) for manifest in manifests]
        if wait_s is not None:
            for each, manifest in zip(applied, manifests, strict=True):
                revision_id = each["deployment"]["revision"]["id"]
                each["deployment"] = await wait_until_ready(
                    client, screen, manifest.name, wait_s, revision_id
                )
                if not screen.as_json:
                    screen.line(f"{manifest.name}: {each['deployment']['state']}")
    if screen.as_json:
        screen.json(applied[0] if len(applied) == 1 else applied)


async def _apply(client: ApiClient, screen: Screen, manifest: Manifest, again: bool) -> Json:
    before = await client.find(f"/deployments/{manifest.name}")
    try:
        asked = {"again": "true"} if again else {}
        applied = await client.put(f"/deployments/{manifest.name}", manifest.spec, **asked)
    except ServerError as error:
        raise located(error, manifest) from error
    after = applied["deployment"]["spec"]
    applied["changes"] = list(changes(before["spec"], after)) if before else []
    if not screen.as_json:
        show_applied(screen, manifest.name, applied, created=before is None)
    for note in applied.get("notes", []):
        screen.note(f"{manifest.name}: {note}")
    return applied
