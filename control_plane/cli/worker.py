"""`tamer worker`: machines of yours that serve. `join` itself comes from the worker's wing."""

from __future__ import annotations

import asyncio
import shlex
from typing import Annotated
from urllib.parse import urlsplit

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, when
from infra.address import is_loopback, outward_address
from infra.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Let machines of yours join, list and remove them.")


@app.command("token")
def make_token(
    name: Annotated[str | None, typer.Option(help="What to call the machine.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Where that machine reaches this server, if not as we do.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a one-time token, and print what to type on the machine that is to join."""
    asyncio.run(_invite(Screen(as_json), name, url))


@app.command("list")
def list_machines(as_json: AsJson = False) -> None:
    """List the machines that have joined or may join."""
    asyncio.run(_list(Screen(as_json)))


@app.command("remove")
def remove_machine(
    machine: Annotated[str, typer.Argument(help="Its id, or its name where it is the only.")],
    as_json: AsJson = False,
) -> None:
    """Drain a machine and let it go; it may not come back without a new token."""
    asyncio.run(_remove(Screen(as_json), machine))


async def _invite(screen: Screen, name: str | None, url: str | None) -> None:
    async with ApiClient.of(Settings()) as client:
        machine = await client.post("/machines", {"name": name})
    server = url or _as_others_see(client.url, screen)
    line = f"tamer worker join --url {shlex.quote(server)} --token {shlex.quote(machine['token'])}"
    if screen.as_json:
        screen.json({**machine, "command": line})
        return
    screen.line(line)
    screen.note(f"type that on the machine; it is good once, until {when(machine['joins_until'])}")


def _as_others_see(url: str, screen: Screen) -> str:
    """Our own address of a server on this machine leads others to themselves."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return url
    here = outward_address()
    if here is None:
        screen.note(f"{url} leads to this machine only from itself: say --url on any other")
        return url
    screen.note(
        f"taking {here} for this machine as others see it (else say --url); the server answers "
        "there where TAMER_HOST is that address or 0.0.0.0"
    )
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{here}{port}"


async def _list(screen: Screen) -> None:
    async with ApiClient.of(Settings()) as client:
        machines = await client.list("/machines")
        replicas = await client.list("/replicas")
    if screen.as_json:
        screen.json(machines)
        return
    runs: dict[str, list[str]] = {}
    for each in replicas:
        runs.setdefault(each["instance_id"], []).append(each["deployment"])
    screen.table(
        ("ID", "NAME", "STATE", "SINCE", "SLOTS", "RUNS", "REASON"),
        (_row(each, runs) for each in machines),
    )


def _row(machine: Json, runs: dict[str, list[str]]) -> tuple[object, ...]:
    instance = machine["instance"]
    if instance is None:
        until = f"its token is good until {when(machine['joins_until'])}"
        return (
            machine["id"],
            machine["name"],
            "invited",
            when(machine["created_at"]),
            "",
            "",
            until,
        )
    return (
        machine["id"],
        machine["name"],
        "away" if instance["ended_at"] else instance["state"],
        when(instance["ended_at"] or instance["joined_at"]),
        ",".join(instance["capabilities"].get("devices", [])),
        ",".join(sorted(runs.get(instance["id"], []))),
        instance["reason"],
    )


async def _remove(screen: Screen, wanted: str) -> None:
    async with ApiClient.of(Settings()) as client:
        machine_id = _pick(await client.list("/machines"), wanted)
        machine = await client.delete(f"/machines/{machine_id}")
    if screen.as_json:
        screen.json(machine)
        return
    instance = machine["instance"]
    leaves = " once it has finished what it runs" if instance and not instance["ended_at"] else ""
    screen.line(f"{machine['name'] or machine_id}: removed{leaves}")


def _pick(machines: list[Json], wanted: str) -> str:
    found = [each["id"] for each in machines if wanted in (each["id"], each["name"])]
    if not found:
        raise CommandError(f"no machine {wanted!r}: see 'tamer worker list'", ExitCode.NOT_FOUND)
    if len(found) > 1:
        raise CommandError(
            f"{len(found)} machines are named {wanted!r}: give an id of {', '.join(found)}",
            ExitCode.USAGE,
        )
    return str(found[0])
