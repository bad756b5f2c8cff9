"""`python -m worker.agent`: join, do what the assignment says, leave."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from infra.ending import end_tasks
from infra.metrics.port import start_metrics
from infra.process_settings import process_settings
from infra.redis_check import UnfitRedis
from infra.settings import Settings
from infra.telemetry import configure_logging, logger
from infra.tracing.setup import start_tracing
from worker.agent.join import JoinFailed, JoinRefused, join
from worker.agent.leave_order import LeaveOrder
from worker.agent.machine import join_request
from worker.agent.notices import Notices
from worker.agent.service import serve

_EXIT_UNREACHABLE = 1
_EXIT_REFUSED = 2
_log = logger(__name__)


async def run(settings: Settings) -> None:
    order = LeaveOrder()
    order.listen()
    async with _watched(settings.imds_url, order):
        request = join_request(settings, settings.join_token.get_secret_value())
        joining = join(settings.join_url, request, settings.join_limit_s)
        grant = await order.unless_given(joining)
        if grant is not None:
            await serve(settings, grant, order)


@contextlib.asynccontextmanager
async def _watched(imds_url: str, order: LeaveOrder) -> AsyncIterator[None]:
    """The order is given too when the cloud announces that it takes this machine away."""
    if not imds_url:
        yield
        return
    watching = asyncio.create_task(Notices(imds_url).watch(order.give))
    try:
        yield
    finally:
        await end_tasks(watching)


def main() -> int:
    settings = process_settings()
    configure_logging("agent", settings.log_level)
    start_metrics(settings, "agent")
    start_tracing("agent", settings)
    if not settings.join_url or not settings.join_token.get_secret_value():
        _log.error("set TAMER_JOIN_URL and TAMER_JOIN_TOKEN: where to join, and the right to")
        return _EXIT_REFUSED
    try:
        asyncio.run(run(settings))
    except (JoinRefused, UnfitRedis) as error:
        _log.error(str(error))
        return _EXIT_REFUSED
    except JoinFailed as error:
        _log.error(str(error))
        return _EXIT_UNREACHABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
