"""`tamer worker join`: serve with this machine, in the foreground, until Ctrl-C."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # every command of `tamer` imports this module
    from worker.agent.leave_order import LeaveOrder
    from worker.joining.machine import JoinedMachine


class Ending(IntEnum):
    """Exit codes, as `docs/cli.md` tells them for every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 5


def join(
    url: Annotated[
        str, typer.Option(help="Where the control plane is; that of the last time if left out.")
    ] = "",
    token: Annotated[
        str, typer.Option(help="From 'tamer worker token'; needed the first time only.")
    ] = "",
    slots: Annotated[
        int, typer.Option(min=0, help="Replicas at once; 0: one for each GPU, or one.")
    ] = 0,
    name: Annotated[str, typer.Option(help="What to call this machine.")] = "",
) -> None:
    """Serve with this machine until Ctrl-C, which lets requests finish; a second one does not.

    Models, logs and what this machine needs to come back are in TAMER_HOME/worker.
    """
    raise typer.Exit(_join(url, token, slots, name))


def _join(url: str, token: str, slots: int, name: str) -> Ending:
    from infra.metrics.port import start_metrics
    from infra.private_folder import make_private
    from infra.redis_check import UnfitRedis
    from infra.settings import Settings
    from infra.tracing.setup import start_tracing
    from worker.agent.join import JoinRefused
    from worker.agent.machine import join_request
    from worker.joining.machine import JoinedMachine
    from worker.joining.membership import AlreadyRuns, alone, last_url, membership_of, remember
    from worker.joining.progress import say, show_progress

    told = Settings()
    home = told.home / "worker"
    settings = told.model_copy(update={"home": home, "slots": slots or told.slots})
    try:
        folder = make_private(home / "memberships")
        url = (url or told.join_url or last_url(folder)).rstrip("/")
        if not url.startswith(("http://", "https://")):
            return _end(Ending.USAGE, "say --url http(s)://HOST[:PORT], where the control plane is")
        with alone(folder):
            show_progress(settings.log_level, make_private(settings.logs_dir) / "worker.log")
            start_metrics(settings, "agent")
            start_tracing("agent", settings)
            membership = membership_of(url, folder)
            request = join_request(
                settings, token or told.join_token.get_secret_value(), membership.credential, name
            )
            say(f"joining {url} with {', '.join(request.devices)} (Ctrl-C leaves)")
            joined = partial(remember, url, folder)
            asyncio.run(_live(JoinedMachine(settings, membership, request, say, joined)))
    except JoinRefused as error:
        return _end(Ending.REFUSED, str(error))
    except (AlreadyRuns, UnfitRedis, OSError) as error:
        return _end(Ending.FAILED, str(error))
    say("left")
    return Ending.OK


async def _live(machine: JoinedMachine) -> None:
    from worker.agent.leave_order import LeaveOrder

    order = LeaveOrder()
    order.listen()
    telling = asyncio.create_task(_tell(order))
    try:
        await machine.live(order)
    finally:
        telling.cancel()


async def _tell(order: LeaveOrder) -> None:
    from worker.joining.progress import say

    await order.wait()
    if order.by_signal:
        say("finishing what runs (Ctrl-C again stops at once)")
    else:
        say("the control plane has removed this machine: finishing what runs")


def _end(code: Ending, message: str) -> Ending:
    typer.echo(f"tamer: {message}", err=True)
    return code
