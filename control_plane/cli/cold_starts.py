"""`tamer explain --cold-starts`: where the time of a deployment's starts went."""

from __future__ import annotations

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.screen import Screen, size, when
from infra.settings import Settings
from infra.starts import Phase

_HEADS = {
    Phase.DECIDE: "DECIDE",
    Phase.LAUNCH: "LAUNCH",
    Phase.BOOT: "BOOT",
    Phase.JOIN: "JOIN",
    Phase.FETCH: "FETCH",
    Phase.VERIFY: "VERIFY",
    Phase.ENGINE: "ENGINE",
    Phase.LOAD: "LOAD",
    Phase.WARM: "WARM",
    Phase.FIRST_TOKEN: "1ST TOKEN",
}


async def show_cold_starts(screen: Screen, name: str, limit: int) -> None:
    async with ApiClient.of(Settings()) as client:
        starts = await client.list(f"/deployments/{name}/cold-starts", most=limit)
    starts.reverse()
    if screen.as_json:
        screen.json(starts)
        return
    if not starts:
        screen.note(f"{name} was not started yet")
        return
    screen.table(
        ("WHEN", "START", "SECONDS", *_HEADS.values(), "FROM", "ON", "USD"), map(_cells, starts)
    )
    for start in starts:
        if start["reason"]:
            screen.note(f"{start['replica_id']} failed: {start['reason']}")


def _cells(start: Json) -> tuple[object, ...]:
    phases = start["phases_s"]
    return (
        when(start["created_at"]),
        _kind(start),
        _seconds(sum(phases.values())),
        *(_seconds(phases.get(each.value)) for each in _HEADS),
        _source(start),
        f"{start['instance_type']} {start['zone']}".strip(),
        f"{start['usd']:.6f}" if start["usd"] else "0",
    )


def _kind(start: Json) -> str:
    kind = "wake" if start["wakes"] else "standby" if start["standby"] else "cold"
    return kind if start["outcome"] == "ready" else f"{kind}, {start['outcome'] or 'under way'}"


def _source(start: Json) -> str:
    """E.g. "store (269.0 MB)"."""
    count_bytes = sum(start["bytes_by_tier"].values())
    return f"{start['tier']} ({size(count_bytes)})" if count_bytes else start["tier"]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 100 else f"{value:.0f}"
