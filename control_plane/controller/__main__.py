"""`python -m control_plane.controller`: reconcile until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import sys

from control_plane.controller.garbage import collect_less_often
from control_plane.controller.loop import Controller
from control_plane.store.migrations.upgrade import upgrade
from control_plane.store.session import Database, StoreError
from control_plane.tasks.messages import Messages
from infra.cloud import open_cloud
from infra.connection import connect
from infra.metrics.port import start_metrics
from infra.process_settings import process_settings
from infra.redis_check import UnfitRedis, check_at_start
from infra.settings import Settings
from infra.telemetry import configure_logging, logger


async def main(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await check_at_start(settings.jobs, settings.tokens)
    await upgrade(settings)
    database, jobs = Database(settings), connect(settings.jobs)
    cloud, messages = open_cloud(settings), Messages(settings)
    try:
        await Controller(settings, database, jobs, cloud, messages).run(stop)
    finally:
        messages.close()
        await cloud.close()
        await jobs.aclose()
        await database.close()


if __name__ == "__main__":
    settings = process_settings()
    configure_logging("controller", settings.log_level)
    start_metrics(settings, "controller")
    collect_less_often()
    try:
        asyncio.run(main(settings))
    except (StoreError, UnfitRedis) as error:
        logger("controller").error(str(error))
        sys.exit(1)
