"""`tamer explain`: why the platform did what it did."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.cold_starts import show_cold_starts
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, when
from infra.settings import Settings


def explain(
    name: Annotated[str, typer.Argument(help="A deployment.")],
    limit: Annotated[int, typer.Option(min=1, help="The newest ones, at most so many.")] = 10,
    cold_starts: Annotated[
        bool, typer.Option("--cold-starts", help="Where the time of its starts went.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the decisions about a deployment, oldest first: reason, formula, inputs, outcome; and
    how it is now, and why, though nothing changes: where its replicas do not start, what the last
    one said."""
    show = show_cold_starts if cold_starts else _explain
    asyncio.run(show(Screen(as_json), name, limit))


async def _explain(screen: Screen, name: str, limit: int) -> None:
    async with ApiClient.of(Settings()) as client:
        decisions = await client.list(f"/deployments/{name}/decisions", most=limit)
        deployment = await client.get(f"/deployments/{name}")
        reason = (
            None if screen.as_json else (await client.get(f"/deployments/{name}/reason"))["now"]
        )
    decisions.reverse()
    if screen.as_json:
        screen.json(decisions)
        return
    if not decisions:
        screen.note(f"nothing was decided about {name} yet")
    for decision in decisions:
        for line in _lines(decision):
            screen.line(line)
    for line in _present(reason):
        screen.line(line)
    said = f": {deployment['reason']}" if deployment["reason"] else ""
    screen.line(f"now {deployment['state']}{said}")


def _present(reason: Json | None) -> list[str]:
    """What the controller concludes now."""
    if reason is None:
        return []
    lines = [f"now {reason['target_replicas']} replicas: {reason['reason']}"]
    parts = ("formula", "inputs")
    return [*lines, *(f"    {part:8} {_said(reason[part])}" for part in parts if reason[part])]


def _lines(decision: Json) -> list[str]:
    lines = [f"{when(decision['created_at'])}  {decision['kind']}: {decision['reason']}"]
    for part in ("outcome", "formula", "inputs"):
        said = _said(decision[part])
        if said:
            lines.append(f"    {part:8} {said}")
    return lines


def _said(value: Any) -> str:
    """A formula as it is, a mapping as "name=value" pairs."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}={_number(each)}" for name, each in value.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return "; ".join(value)
    return value if isinstance(value, str) else json.dumps(value)
