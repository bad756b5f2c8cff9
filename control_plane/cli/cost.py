"""`tamer cost`: what was spent, and for whom."""

from __future__ import annotations

import asyncio
import re
from enum import StrEnum
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, when
from infra.settings import Settings

_LONGEST_D = 93
_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_NOBODY = {
    "deployment": "(no deployment)",
    "tenant": "(no tenant)",
}


class By(StrEnum):
    DEPLOYMENT = "deployment"
    TENANT = "tenant"
    INSTANCE = "instance"
    DAY = "day"


def cost(
    name: Annotated[str | None, typer.Argument(help="Only of this deployment.")] = None,
    by: Annotated[By, typer.Option(help="How to split it.")] = By.DEPLOYMENT,
    since: Annotated[str, typer.Option(help="How far back, e.g. 6h, 7d or 2w.")] = "7d",
    as_json: AsJson = False,
) -> None:
    """Show what machines cost, in US dollars: billed seconds at the prices that held. IDLE is the
    part of USD that no replica used. Lines add up to the total."""
    asyncio.run(_cost(Screen(as_json), name, by, _seconds(since)))


async def _cost(screen: Screen, name: str | None, by: By, since_s: int) -> None:
    query = {"by": by.value, "since_s": since_s} | ({"deployment": name} if name else {})
    async with ApiClient.of(Settings()) as client:
        costs = await client.get("/costs", **query)
    if screen.as_json:
        screen.json(costs)
        return
    tokens = by is not By.INSTANCE
    head = (by.value.upper(), "USD", "IDLE", *(_TOKEN_HEADS if tokens else ("ON", "HOURS")))
    rows = [_cells(by, line) for line in costs["lines"]]
    screen.table(head, [*rows, _total(costs["total"], tokens)])
    of = f" of {name}" if name else ""
    screen.note(f"costs{of} from {when(costs['since'])} on; written down about once a minute")


_TOKEN_HEADS = ("REQUESTS", "TOKENS IN", "TOKENS OUT", "USD/M TOKENS")


def _cells(by: By, line: Json) -> tuple[object, ...]:
    if by is By.INSTANCE:
        hours = f"{(line['billed_s'] or 0.0) / 3600:.2f}"
        return (line["id"], *_money(line), line["name"], hours)
    return (line["name"] or _NOBODY.get(by.value, ""), *_money(line), *_tokens(line))


def _total(line: Json, tokens: bool) -> tuple[object, ...]:
    return ("total", *_money(line), *(_tokens(line) if tokens else ("", "")))


def _money(line: Json) -> tuple[str, str]:
    return _usd(line["usd"]), _usd(line["idle_usd"])


def _tokens(line: Json) -> tuple[object, ...]:
    price = line["usd_per_million_tokens"]
    return (
        line["jobs"],
        line["prompt_tokens"],
        line["output_tokens"],
        None if price is None else f"{price:.3f}",
    )


def _usd(value: float) -> str:
    """In cents, unless it is less than a few."""
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.6f}"


def _seconds(written: str) -> int:
    """Raises CommandError: it is no span of time."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", written)
    if found is None:
        raise CommandError(
            f"--since {written}: write a number and h, d or w, e.g. 7d", ExitCode.USAGE
        )
    span_s = int(found[1]) * _UNITS[found[2]]
    if span_s > _LONGEST_D * _UNITS["d"]:
        said = f"--since {written}: at most {_LONGEST_D}d can be told at once"
        raise CommandError(said, ExitCode.USAGE)
    return span_s
