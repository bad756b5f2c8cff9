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
    """The deployment when what was asked for serves: no rollout to it is under way, and as many
    replicas are ready as it must have (none, where it is idle and may be). Notes its states.

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
        if await _arrived(client, deployment, ordered):
            return deployment
        if state in ("failed", "deleting", "deleted"):
            raise CommandError(f"{name} is {state}: {reason or 'see tamer explain ' + name}")
        said = f"{name}: {state}" + (f" ({reason})" if reason else "")
        if said != noted and (state != "ready" or reason):
            screen.note(said)
            noted = said
        if time.monotonic() > deadline:
            raise CommandError(
                f"{name} was not ready after {limit_s:.0f} s, it is {state}: "
                f"see 'tamer status {name}' and 'tamer logs {name}'",
                ExitCode.TIMED_OUT,
            )
        await asyncio.sleep(_LOOK_EVERY_S)


async def _arrived(client: ApiClient, deployment: Json, ordered: int | None) -> bool:
    """A state is the controller's, of its last pass: just after a change it may say "ready" of what
    was there before, and it says so while the first of several replicas serves."""
    name, scaling = deployment["name"], deployment["spec"]["scaling"]
    if ordered is not None and deployment["target_replicas"] != ordered:
        return False
    least = scaling["min_replicas"] if ordered is None else ordered
    if ordered is None and scaling.get("mode") == "advise":
        least = 0  # nothing will be changed, so nobody waits for it
    if deployment["state"] == "idle":
        return not least
    if deployment["state"] != "ready":
        return False
    rollout = await client.find(f"/deployments/{name}/rollout")
    if rollout is not None and rollout["ended_at"] is None:
        return False
    replicas = await client.list(f"/deployments/{name}/replicas")
    revision_id = deployment["revision"]["id"]
    states = [each["state"] for each in replicas if each["revision_id"] == revision_id]
    return states.count("ready") >= max(least, 1)


async def _left(client: ApiClient, name: str) -> str:
    """Why it does not run what was waited for."""
    rollout = await client.find(f"/deployments/{name}/rollout")
    if rollout is None or rollout["state"] not in ("rolled_back", "aborted"):
        return f"{name} was changed again meanwhile: see 'tamer status {name}'"
    return f"{name} runs what it ran before, the new revision was taken back: {rollout['reason']}"
