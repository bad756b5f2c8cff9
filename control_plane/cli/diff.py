"""`tamer diff`: what a deploy would change, with the server's own defaults and checks."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json, ServerError
from control_plane.cli.changes import changes, show_changes
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.manifest import Manifest, located, read_manifests
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen
from infra.settings import Settings


def diff(
    argument: Annotated[str | None, typer.Argument(metavar="[FILE]", help="Same as -f.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="A YAML or JSON file; '-' reads stdin.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what 'tamer deploy' of FILE would change; exit code 0: nothing, 1: something."""
    if (file is None) == (argument is None):
        raise CommandError("name one file: tamer diff -f FILE", ExitCode.USAGE)
    manifests = read_manifests(file or argument or "")
    if asyncio.run(_diff(Screen(as_json), manifests)):
        raise typer.Exit(ExitCode.FAILED)


async def _diff(screen: Screen, manifests: list[Manifest]) -> bool:
    """Whether anything differs."""
    async with ApiClient.of(Settings()) as client:
        found = [await compare(client, manifest) for manifest in manifests]
    if screen.as_json:
        screen.json(found[0] if len(found) == 1 else found)
    else:
        for each in found:
            show_difference(screen, each)
    return any(each["differs"] for each in found)


async def compare(client: ApiClient, manifest: Manifest, **asked: str) -> Json:
    """What a deploy would change, and its preview.

    Raises:
        CommandError: the server refuses it.
    """
    path = f"/deployments/{manifest.name}"
    before = await client.find(path)
    try:
        wanted = await client.put(path, manifest.spec, dry_run="true", **asked)
    except ServerError as error:
        raise located(error, manifest) from error
    after = wanted["deployment"]
    found = list(changes(before["spec"] if before else {}, after["spec"]))
    if before and before["revision"]["id"] != after["revision"]["id"]:
        found += changes({"revision": before["revision"]["id"]}, {"revision": _new_revision(after)})
    return {
        "name": manifest.name,
        "exists": before is not None,
        "differs": bool(wanted["changed"]),
        "changes": found,
        "notes": wanted["notes"],
        "spec": after["spec"],
        "preview": wanted.get("preview"),
    }


def _new_revision(deployment: Json) -> str:
    return str(deployment["revision"]["id"])


def show_difference(screen: Screen, found: Json) -> None:
    name = found["name"]
    if not found["differs"]:
        screen.line(f"{name}: same")
    elif not found["exists"]:
        screen.line(f"{name}: would be created")
    else:
        screen.line(f"{name}: would change")
    if found["differs"]:
        show_changes(screen, found["changes"])
    for note in found["notes"]:
        screen.note(f"{name}: {note}")
