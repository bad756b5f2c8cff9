"""Wait until a deployment is what it was asked to be."""

from __future__ import annotations

import asyncio
import time

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.screen import Screen

_LOOK_EVERY_S = 0.3


async def wait_until_ready(
    client: ApiClient,
    screen: Screen,
    name: str,
    limit_s: float,
    revision_id: str = "",
    ordered: int | None = None,
) -> Json:
    """The deployment when it is ready (or idle, where it may be at zero); notes its states.

    Args:
        revision_id: what it shall run.
        ordered: so many replicas shall be wanted; None: as many as the autoscaler says.

    Raises:
        CommandError: it failed, is being deleted, went back from `revision_id` to another, or was
            not ready in time.
    """
    deadline = time.monotonic() + limit_s
    noted = ""
    while True:
        deployment = await client.get(f"/deployments/{name}")
        state, reason = str(deployment["state"]), str(deployment["reason"])
        if revision_id and deployment["revision"]["id"] != revision_id:
            raise CommandError(await _left(client, name))
        if state in _arrived(deployment, ordered):
            return deployment
        if state in ("failed", "deleting", "deleted"):
            raise CommandError(f"{name} is {state}: {reason or 'see tamer explain ' + name}")
        said = f"{name}: {state}" + (f" ({reason})" if reason else "")
        if said != noted:
            screen.note(said)
            noted = said
        if time.monotonic() > deadline:
            raise CommandError(
                f"{name} was not ready after {limit_s:.0f} s, it is {state}: "
                f"see 'tamer status {name}' and 'tamer logs {name}'",
                ExitCode.TIMED_OUT,
            )
        await asyncio.sleep(_LOOK_EVERY_S)


def _arrived(deployment: Json, ordered: int | None) -> tuple[str, ...]:
    if ordered is not None:
        there = deployment["target_replicas"] == ordered
        return (("ready" if ordered else "idle"),) if there else ()
    if deployment["spec"]["scaling"]["min_replicas"] == 0:
        return ("ready", "idle")
    return ("ready",)


async def _left(client: ApiClient, name: str) -> str:
    """Why it does not run what was waited for."""
    rollout = await client.find(f"/deployments/{name}/rollout")
    if rollout is None or rollout["state"] not in ("rolled_back", "aborted"):
        return f"{name} was changed again meanwhile: see 'tamer status {name}'"
    return f"{name} runs what it ran before, the new revision was taken back: {rollout['reason']}"
