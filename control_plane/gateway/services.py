"""What the gateway's routes work with, and its life from start to stop."""

from __future__ import annotations

import asyncio
import time

from control_plane.gateway.consumer import Consumer
from control_plane.gateway.durable.keeper import DurableRequests
from control_plane.gateway.errors import unavailable
from control_plane.gateway.known import Known
from control_plane.gateway.metrics import DURABLE_REQUESTS, OPEN_JOBS, PROJECTION_AGE
from control_plane.gateway.outcomes import OUTCOMES
from control_plane.gateway.text_models import TextModels
from control_plane.gateway.tokenizer_pool import TokenizerPool
from infra.connection import REDIS_AWAY, RedisClient, connect
from infra.durable.idempotency import IdempotencyKeys
from infra.durable.log import DurableLog
from infra.durable.owners import Owners
from infra.ending import end_tasks
from infra.projection import ProjectionReader
from infra.settings import Settings

_PING_LIMIT_S = 2.0


class Services:
    """Made without I/O; `start` and `stop` belong to the application's lifespan."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs: RedisClient = connect(settings.jobs)
        self.tokens: RedisClient = connect(settings.tokens)
        reader = ProjectionReader(self.jobs)
        self.known = Known(reader, settings.projection_max_age_s, time.monotonic)
        self.texts = TextModels(reader.text)
        self.tokenizers = TokenizerPool(settings.tokenizer_processes, settings.tokenizer_limit_s)
        self.consumer = Consumer(
            self.jobs, self.tokens, settings.consumer_lease_s, settings.max_attempts
        )
        self.durable = DurableRequests(
            DurableLog(self.jobs, settings.durable_keep_s),
            IdempotencyKeys(self.jobs, settings.durable_keep_s),
            Owners(self.jobs),
            self.consumer,
            self.texts,
            settings.consumer_lease_s,
        )
        self._watching: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        OPEN_JOBS.set_function(lambda: self.consumer.open_jobs)
        PROJECTION_AGE.set_function(lambda: self.known.age_s)
        await self.tokenizers.start()
        DURABLE_REQUESTS.set_function(lambda: self.durable.open_requests)
        self.consumer.start()
        self.durable.start()
        self._watching = (
            asyncio.create_task(self.known.follow(), name="projection reader"),
            asyncio.create_task(OUTCOMES.send_for_ever(self.jobs), name="outcomes"),
        )

    async def stop(self) -> None:
        await self.durable.close()
        await self.consumer.close()
        await end_tasks(*self._watching)
        await self.tokenizers.close()
        await self.jobs.aclose()
        await self.tokens.aclose()

    def end_requests(self) -> None:
        """Answer every request under way that this gateway is being stopped."""
        self.durable.end_readers()
        self.consumer.end_interactive("gateway_stopped")

    async def check_ready(self) -> None:
        """Raises ApiError 503 with what is missing."""
        self.known.check_fresh()
        if not self.consumer.running:
            raise unavailable("The gateway no longer reads tokens.", "not_ready", 2)
        try:
            async with asyncio.timeout(_PING_LIMIT_S):
                await self.jobs.ping()
                await self.tokens.ping()
        except REDIS_AWAY as error:
            raise unavailable("Redis does not answer.", "redis_away", 2) from error
