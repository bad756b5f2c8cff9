"""What an owner orders for a while, instead of what the autoscaler says."""

from __future__ import annotations

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.screen import Screen, when
from control_plane.cli.waiting import wait_until_ready
from infra.settings import Settings


async def override(
    screen: Screen, name: str, replicas: int, duration_s: float, wait_s: float | None
) -> None:
    """Order a number of replicas, and wait for them where `wait_s` says how long."""
    body = {"replicas": replicas, "seconds": duration_s}
    async with ApiClient.of(Settings()) as client:
        deployment = await client.put(f"/deployments/{name}/override", body)
        if not screen.as_json:
            screen.line(f"{name}: {said(deployment)}")
        if wait_s is not None:
            deployment = await wait_until_ready(client, screen, name, wait_s, ordered=replicas)
            if not screen.as_json:
                screen.line(f"{name}: {deployment['state']}")
    if screen.as_json:
        screen.json(deployment)


async def end_override(screen: Screen, name: str) -> None:
    async with ApiClient.of(Settings()) as client:
        deployment = await client.delete(f"/deployments/{name}/override")
    if screen.as_json:
        screen.json(deployment)
    else:
        screen.line(f"{name}: the autoscaler decides")


def said(deployment: Json) -> str:
    """E.g. "3 replicas until 2026-11-23 10:00:00, ordered"; empty where nothing is."""
    ordered = deployment.get("override")
    if not ordered:
        return ""
    count = ordered["replicas"]
    noun = "replica" if count == 1 else "replicas"
    return f"{count} {noun} until {when(ordered['until'])}, ordered"
