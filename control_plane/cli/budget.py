"""`tamer budget`: what tenants may spend. A deployment's budget stands in its specification."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen
from infra.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Set, list and remove the budgets of tenants.")

Tenant = Annotated[str, typer.Argument(help="As 'tamer keys list' shows it.")]


@app.command("set")
def set_budget(
    tenant: Tenant,
    per_day: Annotated[
        float | None, typer.Option(min=0.01, help="US dollars in a day, in UTC.")
    ] = None,
    per_month: Annotated[
        float | None, typer.Option(min=0.01, help="US dollars in a month, in UTC.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a tenant may spend, in the place of what was said before. When it is spent, the
    tenant's requests are refused until the next day or month."""
    if per_day is None and per_month is None:
        raise CommandError("say --per-day or --per-month, or both", ExitCode.USAGE)
    body = {"usd_per_day": per_day, "usd_per_month": per_month}
    asyncio.run(_set(Screen(as_json), tenant, body))


@app.command("list")
def list_budgets(as_json: AsJson = False) -> None:
    """List the tenants that have one, and what they have spent."""
    asyncio.run(_list(Screen(as_json)))


@app.command("remove")
def remove_budget(tenant: Tenant, as_json: AsJson = False) -> None:
    """Let a tenant spend what it likes again."""
    asyncio.run(_remove(Screen(as_json), tenant))


async def _set(screen: Screen, tenant: str, body: Json) -> None:
    async with ApiClient.of(Settings()) as client:
        budget = await client.put(f"/budgets/{tenant}", body)
        tenants = {key["tenant"] for key in await client.list("/keys") if not key["revoked_at"]}
    if screen.as_json:
        screen.json(budget)
    else:
        screen.line(f"{tenant}: {_limits(budget)}")
    if tenant not in tenants:
        screen.note(f"no key is of tenant '{tenant}'; there are: {', '.join(sorted(tenants))}")


async def _list(screen: Screen) -> None:
    async with ApiClient.of(Settings()) as client:
        budgets = (await client.get("/budgets"))["data"]
    if screen.as_json:
        screen.json(budgets)
        return
    if not budgets:
        screen.note("no tenant has a budget: 'tamer budget set' gives it one")
        return
    screen.table(
        ("TENANT", "USD/DAY", "SPENT TODAY", "USD/MONTH", "SPENT THIS MONTH"),
        (
            (
                each["tenant"],
                _usd(each["usd_per_day"]),
                _usd(each["spent_day_usd"]),
                _usd(each["usd_per_month"]),
                _usd(each["spent_month_usd"]),
            )
            for each in budgets
        ),
    )


async def _remove(screen: Screen, tenant: str) -> None:
    async with ApiClient.of(Settings()) as client:
        budget = await client.delete(f"/budgets/{tenant}")
    if screen.as_json:
        screen.json(budget)
    else:
        screen.line(f"{tenant}: no budget any more (it was {_limits(budget)})")


def _limits(budget: Json) -> str:
    """E.g. "$10.00 a day, $100.00 a month"."""
    both = ((budget["usd_per_day"], "day"), (budget["usd_per_month"], "month"))
    return ", ".join(f"${usd:.2f} a {period}" for usd, period in both if usd is not None)


def _usd(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"
