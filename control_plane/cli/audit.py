"""`tamer audit`: is every accepted job accounted for?"""

from __future__ import annotations

import asyncio

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen
from infra.settings import Settings

_COUNTS = ("accepted", "completed", "failed", "cancelled", "expired", "pending", "missing")


def audit(as_json: AsJson = False) -> None:
    """Count accepted jobs against their ends in every queue; exit code 1 where it does not add up.

    It holds where accepted = completed + failed + cancelled + expired + pending, and where the
    counters of pending jobs say what is in the queue.
    """
    found = asyncio.run(_audit())
    screen = Screen(as_json)
    if as_json:
        screen.json(found)
    else:
        _show(screen, found)
    if not found["holds"]:
        raise typer.Exit(ExitCode.FAILED)


async def _audit() -> Json:
    async with ApiClient.of(Settings()) as client:
        return await client.get("/audit")


def _show(screen: Screen, found: Json) -> None:
    if not found["queues"]:
        screen.note("no queue was used yet: nothing was accepted, nothing is missing")
        return
    screen.table(
        ("REVISION", "DEPLOYMENT", *(name.upper() for name in _COUNTS), "HOLDS"),
        [
            *(
                _row(each["revision_id"], each["deployment"], each["balance"], each["holds"])
                for each in found["queues"]
            ),
            _row("total", "", found["total"], found["holds"]),
        ],
    )
    for queue in found["queues"]:
        if not queue["holds"]:
            screen.note(f"{queue['revision_id']} does not hold: {'; '.join(_faults(queue))}")


def _row(revision_id: str, name: str | None, balance: Json, holds: bool) -> tuple[object, ...]:
    return (revision_id, name, *(balance[each] for each in _COUNTS), "yes" if holds else "NO")


def _faults(queue: Json) -> list[str]:
    missing = queue["balance"]["missing"]
    said = [f"{missing} accepted jobs have no end and do not wait"] if missing > 0 else []
    said += [f"{-missing} more jobs ended or wait than were accepted"] if missing < 0 else []
    said += [
        f"the counter '{each['name']}' says {each['counted']}, there are {each['found']}"
        for each in queue["differences"]
    ]
    return said
