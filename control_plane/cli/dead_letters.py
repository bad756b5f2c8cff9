"""`tamer dead-letters`: jobs of which every attempt was cut off."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, when
from infra.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="List and retry jobs of which every attempt was cut off."
)


@app.command("list")
def list_dead_letters(
    deployment: Annotated[str | None, typer.Option(help="Only of this deployment.")] = None,
    as_json: AsJson = False,
) -> None:
    """List them, newest first, with how the last attempt ended."""
    asyncio.run(_list(Screen(as_json), deployment))


@app.command("retry")
def retry_dead_letter(
    job: Annotated[str, typer.Argument(help="The id of a job.")], as_json: AsJson = False
) -> None:
    """Begin its request again, from what was delivered; only durable requests can be."""
    asyncio.run(_retry(Screen(as_json), job))


async def _list(screen: Screen, deployment: str | None) -> None:
    query = {} if deployment is None else {"deployment": deployment}
    async with ApiClient.of(Settings()) as client:
        letters = (await client.get("/dead-letters", **query))["data"]
    if screen.as_json:
        screen.json(letters)
        return
    if not letters:
        screen.note("no dead letters")
        return
    screen.table(
        ("JOB", "DEPLOYMENT", "TENANT", "ATTEMPTS", "LAST ATTEMPT", "ENDED", "RETRY"),
        (_row(each) for each in letters),
    )


def _row(letter: Json) -> tuple[object, ...]:
    return (
        letter["job_id"],
        letter["deployment"] or letter["revision_id"],
        letter["tenant"],
        letter["attempts"],
        letter["cause"] or "ended by its gateway",
        when(letter["ended_at"]),
        "possible" if letter["durable"] else "no: client gone",
    )


async def _retry(screen: Screen, job: str) -> None:
    async with ApiClient.of(Settings()) as client:
        retried = await client.post(f"/dead-letters/{job}/retry", {})
    if screen.as_json:
        screen.json(retried)
    else:
        screen.line(f"{retried['request_id']}: goes on; read it under its id as before")
