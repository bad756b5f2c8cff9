"""The durable requests of this gateway: begun here, or taken over from one that is silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from control_plane.gateway.consumer import Consumer
from control_plane.gateway.durable.adoption import Adoption
from control_plane.gateway.durable.run import DurableRun, Superseded
from control_plane.gateway.enqueue import enqueue
from control_plane.gateway.generation import Generation
from control_plane.gateway.metrics import DURABLE_ADOPTED
from control_plane.gateway.text_models import TextModel, TextModels, TextUnavailable
from infra.backoff import Backoff
from infra.connection import REDIS_AWAY
from infra.durable.idempotency import IdempotencyKeys, Repeated
from infra.durable.log import OPEN, DurableLog, Found
from infra.durable.owners import Owners
from infra.ending import end_tasks
from infra.queue.queue import Taken
from infra.telemetry import logger
from infra.wire import DurableRequest

_log = logger(__name__)
_LOOK_S = 1.0
_SURE_S = 3.0
"""A lease that is missing for this long is not only late, because Redis was away."""
_TEXT_LIMIT_S = 60.0
_TAKE_BACK_S = 2.0
"""A client that is refused waits no longer for what is undone."""
_FIRST_RETRY_S, _LAST_RETRY_S = 0.05, 1.0


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
        self._texts = texts
        self._adoption = Adoption(log, keys, consumer)
        self._lease_s = lease_s
        self._runs: dict[str, DurableRun] = {}
        self._starting: set[str] = set()
        self._silent_since_s: dict[str, float] = {}
        self._unreadable_since_s: dict[str, float] = {}
        """Requests whose model has no tokenizer here, by id."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def start(self) -> None:
        self._spawn(self._for_ever(self._mind))
        self._spawn(self._for_ever(self._take_over))

    @property
    def open_requests(self) -> int:
        return len(self._runs)

    @property
    def stopping(self) -> bool:
        return self._stopping

    def run(self, request_id: str) -> DurableRun | None:
        """A request that this gateway writes."""
        return self._runs.get(request_id)

    def end_readers(self) -> None:
        """This gateway is being stopped: its requests go on elsewhere, its readers do not."""
        self._stopping = True
        for run in self._runs.values():
            run.tell_readers()

    async def close(self) -> None:
        """Leave every request to the other gateways, or to the next one."""
        self.end_readers()
        await end_tasks(*self._tasks)
        for run in self._runs.values():
            self._release(run)
        try:
            await self._owners.leave(self._owner)
        except REDIS_AWAY as error:
            _log.warning("durable requests are left when their lease ends", error=str(error))

    # --- a new request ---

    async def begin(
        self, request: DurableRequest, body_digest: str, text: TextModel, arrived_at_s: float
    ) -> Repeated | None:
        """Accept a request; from the return on it ends with an answer or with a reason.

        Returns the earlier request that has its idempotency key, if there is one.

        Raises:
            ApiError: the queue does not take it.
            RedisError, OSError: Redis is away.
        """
        generation = Generation(self._consumer, request.prompt_tokens, request.model, arrived_at_s)
        accepted = False
        self._starting.add(request.request_id)
        try:
            await self._owners.add(self._owner, request.request_id, self._lease_s)
            await self.log.create(request, self._owner)
            if request.idempotency_key:
                mine = Repeated(request.request_id, body_digest)
                earlier = await self.keys.take(request.idempotency_key, mine)
                if earlier is not None:
                    return earlier
            for spec in request.jobs:
                generation.add(request.revision_id, spec, text, request.stops, durable=True)
            await enqueue(
                self._consumer,
                generation,
                request.tenant,
                request.queue_limit_s,
                request.max_queued_jobs,
            )
            accepted = True
        finally:
            if accepted:
                self._launch(DurableRun(self.log, self.keys, request, 1, generation))
                self._starting.discard(request.request_id)
            else:
                taking_back = self._spawn(self._take_back(request, generation))
                await asyncio.wait({taking_back}, timeout=_TAKE_BACK_S)
        return None

    async def _take_back(self, request: DurableRequest, generation: Generation) -> None:
        """A request that is not accepted never was, as soon as Redis can be told so; until then it
        counts as one that starts, so that nobody goes on with it."""
        backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S)
        for choice in range(len(generation.sequences)):
            await generation.settle(choice)
        while True:
            try:
                await self._discard(request)
                break
            except REDIS_AWAY as error:
                _log.warning("a request cannot be discarded yet", error=str(error))
                await backoff.pause()
        self._starting.discard(request.request_id)

    async def _discard(self, request: DurableRequest) -> None:
        if request.idempotency_key:
            await self.keys.release(request.idempotency_key, request.request_id)
        await self.log.discard(request, 1)
        await self._owners.remove(self._owner, request.request_id)

    # --- writing ---

    def _launch(self, run: DurableRun) -> None:
        self._runs[run.request.request_id] = run
        self._spawn(self._write(run))

    async def _write(self, run: DurableRun) -> None:
        request_id = run.request.request_id
        try:
            await run.write()
        except Superseded:
            _log.info("a durable request is another gateway's now", durable_id=request_id)
            self._release(run)
        except Exception:  # noqa: BLE001
            # It is found without a run and begun again; attempts are bounded.
            _log.exception("a durable request cannot be written", durable_id=request_id)
            self._release(run)
        if not self._stopping:
            self._runs.pop(request_id, None)
            run.tell_readers()

    def _release(self, run: DurableRun) -> None:
        for sequence in run.generation.sequences:
            self._consumer.release(sequence)

    # --- once a second ---

    async def _for_ever(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_S, self._lease_s / 4))
            try:
                await look()
            except REDIS_AWAY as error:
                _log.warning("durable requests cannot be looked at", error=str(error))
            except Exception:  # noqa: BLE001
                _log.exception("durable requests cannot be looked at")

    async def _mind(self) -> None:
        """Keep what is ours; never behind a request that is being taken over, which takes time."""
        if self._runs or self._starting:
            await self._owners.renew(self._owner, self._lease_s)
        await self._look_at_runs()

    async def _take_over(self) -> None:
        await self._inherit(self._owner)
        silent = [each for each in await self._owners.silent() if each != self._owner]
        now_s = time.monotonic()
        self._silent_since_s = {each: self._silent_since_s.get(each, now_s) for each in silent}
        for owner, since_s in self._silent_since_s.items():
            if now_s - since_s >= min(_SURE_S, self._lease_s):
                await self._inherit(owner)
                if not await self._owners.requests(owner):
                    await self._owners.forget(owner)

    async def _look_at_runs(self) -> None:
        runs = list(self._runs.values())
        marks = await self.log.marks([run.request.request_id for run in runs])
        for run, mark in zip(runs, marks, strict=True):
            if mark.claim != run.claim:
                self._release(run)
                run.generation.notify()
            elif mark.cancelled:
                run.cancel()

    async def _inherit(self, owner: str) -> None:
        """Go on with an owner's requests; of our own, with those that nothing runs."""
        for request_id in await self._owners.requests(owner):
            if request_id not in self._runs and request_id not in self._starting:
                self._starting.add(request_id)
                try:
                    await self._adopt(request_id, owner)
                except Taken:
                    _log.info("another gateway was faster", durable_id=request_id)
                except REDIS_AWAY:
                    raise
                except Exception:  # noqa: BLE001
                    # One that cannot be understood must not stand in the way of the others.
                    _log.exception("a durable request cannot be adopted", durable_id=request_id)
                finally:
                    self._starting.discard(request_id)

    async def _adopt(self, request_id: str, owner: str) -> None:
        found = await self.log.find(request_id)
        if found is None or found.status != OPEN or found.owner not in (owner, ""):
            await self._owners.remove(owner, request_id)
            return
        text = await self._text_of(found)
        gone = text is None and self._given_up(request_id)
        if text is None and not gone:
            return
        ours = await self._claim(found, owner)
        if ours is None:
            return
        if text is None:
            await self._adoption.give_up(ours, "model_gone")
            await self._owners.remove(self._owner, request_id)
            return
        self._launch(await self._adoption.resume(ours, text))
        DURABLE_ADOPTED.inc()
        _log.info("durable request adopted", durable_id=request_id, from_owner=owner)

    async def _claim(self, found: Found, owner: str) -> Found | None:
        """The request as its last owner left it, who may have written until the claim.

        None where others were faster, or where it looks so because the reply was lost: the request
        stays among ours until the next look, which sees whose it is.
        """
        request_id = found.request.request_id
        await self._owners.add(self._owner, request_id, self._lease_s)
        claim = await self.log.claim(found, self._owner)
        if claim is None:
            return None
        if owner != self._owner:
            await self._owners.remove(owner, request_id)
        left = await self.log.find(request_id)
        return left if left is not None and left.claim == claim else None

    async def _text_of(self, found: Found) -> TextModel | None:
        try:
            text = await self._texts.get(found.request.text_digest)
        except TextUnavailable as error:
            _log.warning("a durable request has to wait", reason=str(error))
            return None
        self._unreadable_since_s.pop(found.request.request_id, None)
        return text

    def _given_up(self, request_id: str) -> bool:
        """A tokenizer that is not published for this long belongs to a model that is not served."""
        now_s = time.monotonic()
        gone = now_s - self._unreadable_since_s.setdefault(request_id, now_s) > _TEXT_LIMIT_S
        if gone:
            del self._unreadable_since_s[request_id]
        return gone

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
