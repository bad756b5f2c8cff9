"""`tamer keys`: who may use the platform."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, when
from infra.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="inference or admin; may be repeated. Default: inference."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="On whose account it works.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Create a key and print its secret, once."""
    body = {"name": name, "scopes": scope or ["inference"], "tenant": tenant}
    asyncio.run(_create(Screen(as_json), body))


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys (never their secrets)."""
    asyncio.run(_list(Screen(as_json)))


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The id of a key, or its name where it is the only.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key; it stops working everywhere within seconds."""
    asyncio.run(_revoke(Screen(as_json), key))


async def _create(screen: Screen, body: Json) -> None:
    async with ApiClient.of(Settings()) as client:
        key = await client.post("/keys", body)
    if screen.as_json:
        screen.json(key)
        return
    screen.line(key["secret"])
    screen.note(f"key {key['id']} ({', '.join(key['scopes'])}); the secret is not shown again")


async def _list(screen: Screen) -> None:
    async with ApiClient.of(Settings()) as client:
        keys = await client.list("/keys")
    if screen.as_json:
        screen.json(keys)
        return
    screen.table(
        ("ID", "NAME", "TENANT", "SCOPES", "CREATED", "STATE"),
        (
            (
                each["id"],
                each["name"],
                each["tenant"],
                ",".join(each["scopes"]),
                when(each["created_at"]),
                "revoked" if each["revoked_at"] else "valid",
            )
            for each in keys
        ),
    )


async def _revoke(screen: Screen, wanted: str) -> None:
    async with ApiClient.of(Settings()) as client:
        key_id = _pick(await client.list("/keys"), wanted)
        key = await client.delete(f"/keys/{key_id}")
    if screen.as_json:
        screen.json(key)
    else:
        screen.line(f"{key['name']} ({key['id']}): revoked")


def _pick(keys: list[Json], wanted: str) -> str:
    if any(each["id"] == wanted for each in keys):
        return wanted
    named = [each["id"] for each in keys if each["name"] == wanted and not each["revoked_at"]]
    if not named:
        raise CommandError(f"no key {wanted!r}: see 'tamer keys list'", ExitCode.NOT_FOUND)
    if len(named) > 1:
        raise CommandError(
            f"{len(named)} keys are named {wanted!r}: give an id of {', '.join(named)}",
            ExitCode.USAGE,
        )
    return str(named[0])
