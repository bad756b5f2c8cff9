"""`tamer rollout`: where the way to a new revision stands, and its owner's word."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, when
from infra.settings import Settings

app = typer.Typer(no_args_is_help=True, help="See, finish or undo the rollout of a new revision.")

Name = Annotated[str, typer.Argument(help="A deployment.")]

_SAID = {
    "preparing": "waits for the replicas of its next step",
    "watching": "watches what it has shifted",
    "finished": "finished",
    "rolled_back": "rolled back",
    "aborted": "aborted",
    "superseded": "ended by another deploy",
}


_WENT_BACK = ("rolled_back", "aborted", "superseded")


@app.command()
def status(name: Name, as_json: AsJson = False) -> None:
    """Show the rollout that is under way, or the last one."""
    asyncio.run(_status(Screen(as_json), name))


@app.command()
def promote(name: Name, as_json: AsJson = False) -> None:
    """Do the rest of it as soon as the replicas are ready, without watching."""
    asyncio.run(_say(Screen(as_json), name, "promote", "promoted: all of the traffic is next"))


@app.command()
def abort(name: Name, as_json: AsJson = False) -> None:
    """Go back to the old revision: its replicas first, then its traffic."""
    asyncio.run(
        _say(
            Screen(as_json), name, "abort", "aborted: the old revision is next, its replicas first"
        )
    )


async def _status(screen: Screen, name: str) -> None:
    async with ApiClient.of(Settings()) as client:
        rollout = await client.get(f"/deployments/{name}/rollout")
        deployment = await client.get(f"/deployments/{name}")
    if screen.as_json:
        screen.json(rollout)
        return
    for line in _lines(name, rollout, deployment):
        screen.line(line)


def _lines(name: str, rollout: Json, deployment: Json) -> list[str]:
    said = deployment["spec"]["rollout"]
    state = _SAID[rollout["state"]]
    lines = [
        f"{name}: {said['strategy']}, {state}",
        f"  from     {rollout['from_revision_id']} ({rollout['from_spec'].get('model', '?')}), "
        f"{_counted(rollout['from_replicas'])}",
        f"  to       {rollout['to_revision_id']}, {_counted(rollout['to_replicas'])}",
        f"  began    {when(rollout['created_at'])}",
    ]
    if rollout["ended_at"] is None:
        lines.append(f"  step     {rollout['step'] + 1}, {rollout['percent']} % of the traffic")
        lines.append(f"  since    {when(rollout['state_at'])}")
        lines.append(f"  back on  {said['rollback_on']}, or where it does not start")
    else:
        lines.append(f"  ended    {when(rollout['ended_at'])}")
        if rollout["state"] in _WENT_BACK and rollout["percent"]:
            lines.append("  traffic  of both, until the old revision has its replicas")
    if rollout["reason"]:
        lines.append(f"  why      {rollout['reason']}")
    if deployment["reason"] and (rollout["ended_at"] is None or rollout["percent"] % 100):
        lines.append(f"  now      {deployment['reason']}")
    return lines


def _counted(replicas: dict[str, int]) -> str:
    """E.g. "2 ready, 1 loading"."""
    if not replicas:
        return "no replicas"
    return ", ".join(f"{count} {state}" for state, count in sorted(replicas.items(), key=_most))


def _most(counted: tuple[str, int]) -> tuple[bool, int, str]:
    """Those that serve first."""
    state, count = counted
    return state != "ready", -count, state


async def _say(screen: Screen, name: str, word: str, said: str) -> None:
    async with ApiClient.of(Settings()) as client:
        rollout = await client.post(f"/deployments/{name}/rollout/{word}", {})
    if screen.as_json:
        screen.json(rollout)
    else:
        screen.line(f"{name}: {said}")
