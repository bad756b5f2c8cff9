"""`tamer status`: what runs."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.options import AsJson
from control_plane.cli.override import said
from control_plane.cli.screen import Screen, size, when
from infra.settings import Settings


def status(
    name: Annotated[str | None, typer.Argument(help="One deployment, in detail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show deployments, replicas and instances; with NAME one deployment and its replicas."""
    asyncio.run(_status(Screen(as_json), name))


async def _status(screen: Screen, name: str | None) -> None:
    async with ApiClient.of(Settings()) as client:
        if name is None:
            _show_all(screen, client.url, await client.get("/status"))
            return
        deployment = await client.get(f"/deployments/{name}")
        path = f"/deployments/{name}/replicas"
        replicas = await client.list(path)
        # Between two starts nothing runs, and the last one says why.
        ended = [] if replicas else await client.list(path, most=1, ended="true")
    _show_one(screen, deployment, replicas, ended)


def _show_all(screen: Screen, url: str, body: Json) -> None:
    if screen.as_json:
        screen.json(body)
        return
    screen.note(f"{url}: instances {_counts(body['instances'])}; models {_counts(body['models'])}")
    for line in _warm(body):
        screen.note(line)
    if not body["deployments"]:
        screen.note("no deployments: make one with 'tamer deploy -f FILE'")
        return
    screen.table(
        ("NAME", "MODEL", "STATE", "REPLICAS", "TARGET", "MIN..MAX", "ENGINE", "REASON"),
        (
            (
                each["name"],
                each["model"],
                each["state"],
                _counts(each["replicas"]),
                each["target_replicas"],
                f"{each['min_replicas']}..{each['max_replicas']}",
                each["engine"],
                each["reason"],
            )
            for each in body["deployments"]
        ),
    )


def _show_one(screen: Screen, deployment: Json, replicas: list[Json], ended: list[Json]) -> None:
    if screen.as_json:
        screen.json({"deployment": deployment, "replicas": replicas})
        return
    reason = f" ({deployment['reason']})" if deployment["reason"] else ""
    screen.line(f"{deployment['name']}: {deployment['state']}{reason}")
    screen.line(
        f"model {deployment['model']}, revision {deployment['revision']['id']}, "
        f"generation {deployment['generation']}, target {deployment['target_replicas']}"
    )
    if said(deployment):
        screen.line(f"{said(deployment)}: 'tamer scale {deployment['name']} --auto' ends that")
    if not replicas:
        screen.note("no replicas")
        for each in ended:
            why = each["reason"] or "no reason was given"
            screen.note(f"the last one, {each['id']}, is {each['state']}: {why}")
        return
    revision_id = deployment["revision"]["id"]
    screen.table(
        ("REPLICA", "STATE", "REVISION", "INSTANCE", "SINCE", "REASON"),
        (
            (
                each["id"],
                each["state"],
                "present" if each["revision_id"] == revision_id else "earlier",
                each["instance_id"],
                when(each["created_at"]),
                each["reason"],
            )
            for each in replicas
        ),
    )


def _warm(body: Json) -> list[str]:
    """What waits for work, and the memory that it holds."""
    standbys = body.get("standbys") or {"count": 0}
    asleep = sum(each["replicas"].get("sleeping", 0) for each in body["deployments"])
    lines = []
    if standbys["count"]:
        lines.append(f"standbys: {standbys['count']}, {size(standbys['memory_bytes'])} of memory")
    if asleep:
        held = size(body.get("sleeping_memory_bytes", 0))
        lines.append(f"sleeping replicas: {asleep}, {held} of memory")
    return lines


def _counts(counts: dict[str, int]) -> str:
    """E.g. "1 ready, 2 loading"."""
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"
