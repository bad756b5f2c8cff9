"""`tamer down`: stop the platform of this machine, or delete one deployment."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson, TimeoutS
from control_plane.cli.screen import Screen
from control_plane.cli.up.home_lock import running_holder
from infra.settings import Settings

_LOOK_EVERY_S = 0.1


def down(
    name: Annotated[str | None, typer.Argument(help="A deployment to delete.")] = None,
    wait: Annotated[bool, typer.Option(help="With NAME: wait until it is gone.")] = False,
    timeout_s: TimeoutS = 60.0,
    as_json: AsJson = False,
) -> None:
    """Stop what 'tamer up' started on this machine; with NAME delete that deployment."""
    screen = Screen(as_json)
    if name is None:
        _stop(screen, timeout_s)
    else:
        asyncio.run(_delete(screen, name, timeout_s if wait else None))


def _stop(screen: Screen, timeout_s: float) -> None:
    settings = Settings()
    holder = running_holder(settings)
    if holder is None:
        raise CommandError(
            f"no 'tamer up' runs on {settings.home}: nothing to stop", ExitCode.NOT_FOUND
        )
    os.kill(holder.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while holder.lives():
        if time.monotonic() > deadline:
            raise CommandError(
                f"process {holder.pid} still runs after {timeout_s:.0f} s: "
                "'tamer down' once more stops it at once",
                ExitCode.TIMED_OUT,
            )
        time.sleep(_LOOK_EVERY_S)
    if screen.as_json:
        screen.json({"stopped": holder.pid})
    else:
        screen.line("stopped")


async def _delete(screen: Screen, name: str, wait_s: float | None) -> None:
    async with ApiClient.of(Settings()) as client:
        deployment = await client.delete(f"/deployments/{name}")
        state = str(deployment["state"])
        if wait_s is not None:
            await _wait_until_gone(client, name, wait_s)
            state = "deleted"
    if screen.as_json:
        screen.json({**deployment, "state": state})
    else:
        screen.line(f"{name}: {state}")


async def _wait_until_gone(client: ApiClient, name: str, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        if await client.find(f"/deployments/{name}") is None:
            return
        if time.monotonic() > deadline:
            raise CommandError(
                f"{name} is still being deleted after {limit_s:.0f} s: see 'tamer status {name}'",
                ExitCode.TIMED_OUT,
            )
        await asyncio.sleep(_LOOK_EVERY_S)
