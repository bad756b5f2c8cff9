"""One instance, from its grant to its last word."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from infra.build import build_name
from infra.connection import REDIS_AWAY, connect
from infra.ending import end_tasks
from infra.redis_check import check_at_start
from infra.registry import AgentRegistry
from infra.settings import Settings
from infra.storage.served import ServedTrees
from infra.telemetry import logger
from infra.wire import JoinGrant
from worker.agent.heartbeat import Heart
from worker.agent.leave_order import LeaveOrder
from worker.agent.log_shipping import LogShipper, ShippingHandler
from worker.agent.machine import devices, engine_threads
from worker.agent.models import Models
from worker.agent.peer_board import open_board
from worker.agent.replica import Surroundings
from worker.agent.standby import Standbys
from worker.agent.supervisor import Supervisor
from worker.loader.large_pages import shared_are_large

Rejoin = Callable[[], Awaitable[JoinGrant]]
"""Asks the control plane what this process is: the same instance, unless that was given up."""

_FAREWELL_S = 2.0
_log = logger(__name__)


async def serve(
    settings: Settings,
    grant: JoinGrant,
    order: LeaveOrder,
    served: ServedTrees | None = None,
    rejoin: Rejoin | None = None,
) -> JoinGrant | None:
    """Do what the assignment says until the order to leave comes, then drain; returns None.

    With `rejoin`, a process that could not be heard for a while asks who it is; where the answer is
    not what it was granted, everything ends at once and the new grant is returned.

    Args:
        served: reads tamer:// models, on machines that joined.

    Raises:
        UnfitRedis: jobs would be lost in the Redis that the control plane names.
    """
    await check_at_start(grant.jobs_url, grant.tokens_url)
    if settings.cache_dir is not None:
        os.environ["TAMER_CACHE_DIR"] = str(settings.cache_dir)  # engines read no settings
    jobs, tokens = connect(grant.jobs_url), connect(grant.tokens_url)
    shipper = LogShipper(tokens)
    slots = len(devices(settings.slots))
    news = asyncio.Event()
    free_slots = asyncio.Semaphore(slots)
    threads = engine_threads(settings, slots)
    standbys = Standbys(settings.standby, threads, lambda: not free_slots.locked(), news.set)
    board = open_board(settings, jobs, grant.jobs_url)
    models = Models(settings, board, served)
    surroundings = Surroundings(
        jobs, tokens, grant.lease_s, threads, free_slots, news.set, models.open, standbys
    )
    supervisor = Supervisor(surroundings, settings.drain_limit_s, order.give)
    heart = Heart(jobs, grant.instance_id, build_name(), grant.heartbeat_s, news)
    with _shipped_logs(shipper, grant.instance_id):
        _log.info(
            "joined",
            instance_id=grant.instance_id,
            slots=slots,
            large_pages=shared_are_large(),
        )
        following = asyncio.create_task(supervisor.follow(AgentRegistry(jobs, grant.instance_id)))
        beating = asyncio.create_task(heart.beat_forever(supervisor))
        shipping = asyncio.create_task(shipper.ship_forever())
        standing_by = asyncio.create_task(standbys.keep_forever(supervisor.is_starting))
        ordered = asyncio.create_task(order.wait())
        replaced = asyncio.create_task(_replaced(heart, grant, rejoin))
        try:
            await _first_of(ordered, following, beating, shipping, standing_by, replaced)
            await end_tasks(following, standing_by)
            if not ordered.done():
                another = replaced.result()
                _log.warning(_why(grant, another), instance_id=grant.instance_id)
                await supervisor.abandon()
                return another
            _log.info("leaving", instance_id=grant.instance_id)
            heart.leaving = True
            news.set()
            if board is not None:
                await _try_briefly(board.withdraw())
            leaving = asyncio.create_task(supervisor.leave())
            await _first_of(leaving, beating, shipping)
            await end_tasks(beating, shipping)
            await _try_briefly(heart.beat(supervisor, ring=True))
            await _try_briefly(shipper.ship())
        finally:
            await end_tasks(ordered, following, beating, shipping, standing_by, replaced)
            await asyncio.to_thread(models.close)
            if board is not None:
                await board.close()
            await jobs.aclose()
            await tokens.aclose()
    return None


async def _replaced(heart: Heart, granted: JoinGrant, rejoin: Rejoin | None) -> JoinGrant:
    """Returns when this process is another instance by now, or must speak to another Redis."""
    while True:
        await heart.missed.wait()
        heart.missed.clear()
        if rejoin is not None:
            grant = await rejoin()
            if grant != granted:
                return grant


def _why(granted: JoinGrant, another: JoinGrant) -> str:
    if another.instance_id != granted.instance_id:
        return "given up while it could not be heard"
    return "told of other addresses or times"


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    """Wait for any of them; a loop that broke breaks us, rather than being missed in silence."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


@contextlib.contextmanager
def _shipped_logs(shipper: LogShipper, instance_id: str) -> Iterator[None]:
    root = logging.getLogger()
    handler = ShippingHandler(shipper, instance_id)
    handler.setFormatter(root.handlers[0].formatter)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


async def _try_briefly(farewell: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(*REDIS_AWAY):
        async with asyncio.timeout(_FAREWELL_S):
            await farewell
