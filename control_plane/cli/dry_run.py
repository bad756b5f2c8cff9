"""`tamer deploy --dry-run`: what would change, and what that runs on, costs and takes."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.diff import compare, show_difference
from control_plane.cli.manifest import Manifest
from control_plane.cli.screen import Screen
from infra.settings import Settings


async def foretell(screen: Screen, manifests: list[Manifest], again: bool) -> None:
    asked = {"again": "true"} if again else {}
    async with ApiClient.of(Settings()) as client:
        found = [await compare(client, manifest, **asked) for manifest in manifests]
    if screen.as_json:
        screen.json(found[0] if len(found) == 1 else found)
        return
    for each in found:
        show_difference(screen, each)
        for line in _lines(each.get("preview")):
            screen.line(f"  {line}")
    screen.note("nothing was changed")


def _lines(preview: Json | None) -> Iterator[str]:
    if preview is None:
        return
    for number, machine in enumerate(preview["machines"]):
        lead = "runs on  " if number == 0 else "or       "
        yield f"{lead}{machine['instance_type']} ({machine['accelerator']}), {_price(machine)}"
    low, high = preview["usd_per_hour_at_min"], preview["usd_per_hour_at_max"]
    yield f"costs    ${low:.4g} an hour at its least replicas, ${high:.4g} at its most, on demand"
    start = preview["cold_start"]
    measured = f"of {start['starts']} starts" if start["starts"] else "believed: none was measured"
    yield f"starts   in {start['p50_s']:.3g} s (p50) to {start['p90_s']:.3g} s (p90), {measured}"
    if preview["rollout"] is not None:
        rollout = preview["rollout"]
        steps = ", ".join(str(each) for each in rollout["steps"])
        yield f"rollout  {rollout['strategy']} to {steps} %, back on {rollout['rollback_on']}"


def _price(machine: Json) -> str:
    usd = machine["usd_per_hour"]
    tokens = machine.get("usd_per_million_tokens")
    each = f", ${tokens:.3g} a million tokens when it is busy" if tokens else ""
    return f"${usd:.4g} an hour and replica{each}" if usd else "no price"
