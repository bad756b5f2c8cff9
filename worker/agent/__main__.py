"""`python -m worker.agent`: join, do what the assignment says, leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Coroutine
from typing import Any

from infra.build import build_name
from infra.connection import REDIS_AWAY, connect
from infra.ending import end_tasks
from infra.metrics.port import start_metrics
from infra.redis_check import UnfitRedis, check_url_at_start
from infra.registry import AgentRegistry
from infra.settings import Settings
from infra.storage.opening import local_path
from infra.telemetry import configure_logging, logger
from infra.wire import JoinGrant
from worker.agent.heartbeat import Heart
from worker.agent.join import JoinFailed, JoinRefused, join
from worker.agent.leave_order import LeaveOrder
from worker.agent.log_shipping import LogShipper, ShippingHandler
from worker.agent.machine import devices, engine_threads, join_request
from worker.agent.replica import Surroundings
from worker.agent.supervisor import Supervisor

_EXIT_UNREACHABLE = 1
_EXIT_REFUSED = 2
_FAREWELL_S = 2.0
_log = logger(__name__)


async def serve(settings: Settings, grant: JoinGrant, order: LeaveOrder) -> None:
    """Everything between join and leave.

    Raises:
        UnfitRedis: jobs would be lost in the Redis that the control plane names.
    """
    await check_url_at_start(grant.jobs_url)
    jobs, tokens = connect(grant.jobs_url), connect(grant.tokens_url)
    shipper = LogShipper(tokens)
    _ship_logs(shipper, grant.instance_id)
    slots = len(devices(settings.slots))
    news = asyncio.Event()
    surroundings = Surroundings(
        jobs,
        tokens,
        grant.lease_s,
        engine_threads(settings, slots),
        asyncio.Semaphore(slots),
        news.set,
        lambda uri, moved: local_path(uri, settings, moved),
    )
    supervisor = Supervisor(surroundings, settings.drain_limit_s, order.give)
    heart = Heart(jobs, grant.instance_id, build_name(), grant.heartbeat_s, news)
    _log.info("joined", instance_id=grant.instance_id, slots=slots)
    following = asyncio.create_task(supervisor.follow(AgentRegistry(jobs, grant.instance_id)))
    beating = asyncio.create_task(heart.beat_forever(supervisor))
    shipping = asyncio.create_task(shipper.ship_forever())
    ordered = asyncio.create_task(order.wait())
    try:
        await _first_of(ordered, following, beating, shipping)
        _log.info("leaving", instance_id=grant.instance_id)
        await end_tasks(following)
        heart.leaving = True
        news.set()
        leaving = asyncio.create_task(supervisor.leave())
        await _first_of(leaving, beating, shipping)
        await end_tasks(beating, shipping)
        await _try_briefly(heart.beat(supervisor, ring=True))
        await _try_briefly(shipper.ship())
    finally:
        await end_tasks(ordered, following, beating, shipping)
        await jobs.aclose()
        await tokens.aclose()


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Wait for any of them; a loop that broke breaks us, rather than being missed in silence."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def run(settings: Settings) -> None:
    order = LeaveOrder()
    order.listen()
    joining = asyncio.create_task(
        join(settings.join_url, join_request(settings), settings.join_limit_s)
    )
    leaving = asyncio.create_task(order.wait())
    await asyncio.wait((joining, leaving), return_when=asyncio.FIRST_COMPLETED)
    if not joining.done():
        joining.cancel()
        return
    leaving.cancel()
    await serve(settings, joining.result(), order)


def main() -> int:
    settings = Settings()
    configure_logging("agent", settings.log_level)
    start_metrics(settings, "agent")
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


def _ship_logs(shipper: LogShipper, instance_id: str) -> None:
    root = logging.getLogger()
    handler = ShippingHandler(shipper, instance_id)
    handler.setFormatter(root.handlers[0].formatter)
    root.addHandler(handler)


async def _try_briefly(farewell: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(*REDIS_AWAY):
        async with asyncio.timeout(_FAREWELL_S):
            await farewell


if __name__ == "__main__":
    sys.exit(main())
