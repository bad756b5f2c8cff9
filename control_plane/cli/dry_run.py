"""`tamer deploy --dry-run`: what would change, and what that runs on, costs and takes."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.diff import compare, show_difference
from control_plane.cli.manifest import Manifest
from control_plane.cli.screen import Screen
from infra.settings import Settings

_HOURS = {"day": 24, "month": 30 * 24}


async def foretell(screen: Screen, manifests: list[Manifest], again: bool) -> None:
    asked = {"again": "true"} if again else {}
    async with ApiClient.of(Settings()) as client:
        found = [await compare(client, manifest, **asked) for manifest in manifests]
    if screen.as_json:
        screen.json(found[0] if len(found) == 1 else found)
        return
    for each in found:
        show_difference(screen, each)
        for line in _lines(each.get("preview"), each["spec"].get("budget") or {}):
            screen.line(f"  {line}")
    screen.note("nothing was changed")


def _lines(preview: Json | None, budget: Json) -> Iterator[str]:
    if preview is None:
        return
    for number, machine in enumerate(preview["machines"]):
        lead = "runs on  " if number == 0 else "or       "
        yield f"{lead}{machine['instance_type']} ({machine['accelerator']}), {_price(machine)}"
    busy = preview.get("cheapest_when_busy")
    if busy:
        tokens, accelerator = busy["usd_per_million_tokens"], busy["accelerator"]
        yield (
            f"busy     {busy['instance_type']} costs less for each token (${tokens:.3g} a million):"
            f" for steady traffic, placement.accelerators: [{accelerator}]"
        )
    low, high = preview["usd_per_hour_at_min"], preview["usd_per_hour_at_max"]
    yield f"costs    ${low:.4g} an hour at its least replicas, ${high:.4g} at its most, on demand"
    for period, hours in _HOURS.items():
        limit = budget.get(f"usd_per_{period}")
        if limit is not None and limit < low * hours:
            yield f"budget   ${limit:.4g} a {period} lasts its least replicas {limit / low:.3g} h"
    start = preview["cold_start"]
    count = start["starts"]
    noun = "start" if count == 1 else "starts"
    measured = f"of {count} {noun}" if count else "believed: none was measured"
    yield f"starts   in {start['p50_s']:.3g} s (p50) to {start['p90_s']:.3g} s (p90), {measured}"
    if preview["rollout"] is not None:
        rollout = preview["rollout"]
        steps = ", ".join(str(each) for each in rollout["steps"])
        yield f"rollout  {rollout['strategy']} to {steps} %, back on {rollout['rollback_on']}"


def _price(machine: Json) -> str:
    usd, devices = machine["usd_per_hour"], machine.get("devices", 1)
    shared = f" ({devices} share a machine of ${usd * devices:.4g})" if devices > 1 else ""
    tokens = machine.get("usd_per_million_tokens")
    each = f", ${tokens:.3g} a million tokens when it is busy" if tokens else ""
    return f"${usd:.4g} an hour and replica{shared}{each}" if usd else "no price"
