"""The durable requests of this gateway: begun here, or taken over from one that is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from control_plane.gateway.consumer import Consumer
from control_plane.gateway.display import display_of
from control_plane.gateway.durable.adoption import Adoption
from control_plane.gateway.durable.inheritance import Inheritance
from control_plane.gateway.durable.run import DurableRun
from control_plane.gateway.durable.runs import Runs
from control_plane.gateway.enqueue import enqueue
from control_plane.gateway.generation import Generation
from control_plane.gateway.text_models import TextModel, TextModels
from control_plane.gateway.until_taken import until_taken
from infra.connection import REDIS_AWAY
from infra.durable.idempotency import IdempotencyKeys, Repeated
from infra.durable.log import DurableLog
from infra.durable.owners import Owners
from infra.telemetry import logger
from infra.wire import DurableRequest

_log = logger(__name__)
_LOOK_S = 1.0
_TAKE_BACK_S = 2.0
"""A client that is refused waits no longer for what is undone."""


class DurableRequests:
    """`lease_s`: after this silence of a gateway the others take its requests over."""

    def __init__(
        self,
        log: DurableLog,
        keys: IdempotencyKeys,
        owners: Owners,
        consumer: Consumer,
        texts: TextModels,
        lease_s: float,
    ) -> None:
        self.log = log
        self.keys = keys
        self._owners = owners
        self._consumer = consumer
        self._owner = consumer.id
        self._lease_s = lease_s
        self._pause_s = min(_LOOK_S, lease_s / 4)
        self._runs = Runs(consumer)
        self._inheritance = Inheritance(
            log, owners, self._runs, Adoption(log, keys, consumer), texts, consumer.id, lease_s
        )

    def start(self) -> None:
        self._runs.spawn(self._for_ever(self._mind))
        self._runs.spawn(self._for_ever(self._inheritance.look))

    @property
    def open_requests(self) -> int:
        return len(self._runs)

    @property
    def stopping(self) -> bool:
        return self._runs.stopping

    def run(self, request_id: str) -> DurableRun | None:
        """A request that this gateway writes."""
        return self._runs.get(request_id)

    def end_readers(self) -> None:
        """This gateway is being stopped: its requests go on elsewhere, its readers do not."""
        self._runs.end_readers()

    async def close(self) -> None:
        """Leave every request to the other gateways, or to the next one."""
        await self._runs.close()
        try:
            await self._owners.leave(self._owner)
        except REDIS_AWAY as error:
            _log.warning("durable requests are left when their lease ends", error=str(error))

    # --- a new request ---

    async def begin(
        self,
        request: DurableRequest,
        body_digest: str,
        text: TextModel,
        arrived_at_s: float,
        boot_s: float,
    ) -> Repeated | None:
        """Accept a request; from the return on it ends with an answer or with a reason.

        Returns the earlier request that has its idempotency key, if there is one.

        Raises:
            ApiError: the queue does not take it.
            RedisError, OSError: Redis is away.
        """
        generation = Generation(self._consumer, request.prompt_tokens, request.model, arrived_at_s)
        accepted = False
        self._runs.reserve(request.request_id)
        try:
            await self._owners.add(self._owner, request.request_id, self._lease_s)
            await self.log.create(request, self._owner)
            if request.idempotency_key:
                mine = Repeated(request.request_id, body_digest)
                earlier = await self.keys.take(request.idempotency_key, mine)
                if earlier is not None:
                    return earlier
            for spec in request.jobs:
                generation.add(request.revision_id, spec, text, display_of(request), durable=True)
            await enqueue(
                self._consumer,
                generation,
                request.tenant,
                request.queue_limit_s,
                request.max_queued_jobs,
                boot_s,
            )
            accepted = True
        finally:
            if accepted:
                self._runs.launch(DurableRun(self.log, self.keys, request, 1, generation))
            else:
                taking_back = self._runs.spawn(self._take_back(request, generation))
                await asyncio.wait({taking_back}, timeout=_TAKE_BACK_S)
        return None

    async def _take_back(self, request: DurableRequest, generation: Generation) -> None:
        """A request that is not accepted never was, as soon as Redis can be told so; until then it
        counts as one that starts, so that nobody goes on with it."""
        for choice in range(len(generation.sequences)):
            await generation.settle(choice)
        await until_taken("log of a request", lambda: self._discard(request))
        self._runs.give_up(request.request_id)

    async def _discard(self, request: DurableRequest) -> None:
        if request.idempotency_key:
            await self.keys.release(request.idempotency_key, request.request_id)
        await self.log.discard(request, 1)
        await self._owners.remove(self._owner, request.request_id)

    # --- once a second ---

    async def _for_ever(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                await look()
            except REDIS_AWAY as error:
                _log.warning("durable requests cannot be looked at", error=str(error))
            except Exception:  # noqa: BLE001
                # A gateway that stops looking would keep its lease and its requests for ever.
                _log.exception("durable requests cannot be looked at")

    async def _mind(self) -> None:
        """Keep what is ours; never behind a request that is being taken over, which takes time."""
        if not self._runs.idle:
            await self._owners.renew(self._owner, self._lease_s)
        await self._look_at_runs()

    async def _look_at_runs(self) -> None:
        runs = list(self._runs)
        marks = await self.log.marks([run.request.request_id for run in runs])
        for run, mark in zip(runs, marks, strict=True):
            if mark.claim != run.claim:
                self._runs.release(run)
                run.generation.notify()
            elif mark.cancelled:
                run.cancel()
