"""Durable requests of gateways that are silent, and of our own those that nothing runs."""

from __future__ import annotations

import time

from control_plane.gateway.durable.adoption import Adoption
from control_plane.gateway.durable.runs import Runs
from control_plane.gateway.metrics import DURABLE_ADOPTED
from control_plane.gateway.text_models import TextModel, TextModels, TextUnavailable
from infra.connection import REDIS_AWAY
from infra.durable.log import OPEN, DurableLog, Found
from infra.durable.owners import Owners
from infra.queue.queue import Taken
from infra.telemetry import logger

_log = logger(__name__)
_SURE_S = 3.0
"""A lease that is missing for this long is not only late, because Redis was away."""
_TEXT_LIMIT_S = 60.0


class Inheritance:
    """`lease_s`: after this silence of a gateway the others take its requests over."""

    def __init__(
        self,
        log: DurableLog,
        owners: Owners,
        runs: Runs,
        adoption: Adoption,
        texts: TextModels,
        heir: str,
        lease_s: float,
    ) -> None:
        self._log = log
        self._owners = owners
        self._runs = runs
        self._adoption = adoption
        self._texts = texts
        self._heir = heir
        self._lease_s = lease_s
        self._silent_since_s: dict[str, float] = {}
        self._unreadable_since_s: dict[str, float] = {}
        """Requests whose model has no tokenizer here, by id."""

    async def look(self) -> None:
        """Raises RedisError, OSError: Redis is away."""
        await self.inherit(self._heir)
        silent = [each for each in await self._owners.silent() if each != self._heir]
        now_s = time.monotonic()
        self._silent_since_s = {each: self._silent_since_s.get(each, now_s) for each in silent}
        for owner, since_s in self._silent_since_s.items():
            if now_s - since_s >= min(_SURE_S, self._lease_s):
                await self.inherit(owner)
                if not await self._owners.requests(owner):
                    await self._owners.forget(owner)

    async def inherit(self, owner: str) -> None:
        """Go on with an owner's requests, except for those that run here."""
        for request_id in await self._owners.requests(owner):
            if not self._runs.reserve(request_id):
                continue
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
                self._runs.give_up(request_id)

    async def _adopt(self, request_id: str, owner: str) -> None:
        found = await self._log.find(request_id)
        if found is None or found.status != OPEN or found.owner not in (owner, ""):
            await self._owners.remove(owner, request_id)
            return
        text = await self._text_of(found)
        if text is None and not self._is_hopeless(request_id):
            return
        ours = await self._claim(found, owner)
        if ours is None:
            return
        if text is None:
            await self._adoption.give_up(ours, "model_gone")
            await self._owners.remove(self._heir, request_id)
            return
        self._runs.launch(await self._adoption.resume(ours, text))
        DURABLE_ADOPTED.inc()
        _log.info("durable request adopted", durable_id=request_id, from_owner=owner)

    async def _claim(self, found: Found, owner: str) -> Found | None:
        """The request as its last owner left it, who may have written until the claim.

        None where others were faster, or where it looks so because the reply was lost: the request
        stays among ours until the next look, which sees whose it is.
        """
        request_id = found.request.request_id
        await self._owners.add(self._heir, request_id, self._lease_s)
        claim = await self._log.claim(found, self._heir)
        if claim is None:
            return None
        if owner != self._heir:
            await self._owners.remove(owner, request_id)
        left = await self._log.find(request_id)
        return left if left is not None and left.claim == claim else None

    async def _text_of(self, found: Found) -> TextModel | None:
        try:
            text = await self._texts.get(found.request.text_digest)
        except TextUnavailable as error:
            _log.warning("a durable request has to wait", reason=str(error))
            return None
        self._unreadable_since_s.pop(found.request.request_id, None)
        return text

    def _is_hopeless(self, request_id: str) -> bool:
        """A tokenizer that is not published for this long belongs to a model that is not served."""
        now_s = time.monotonic()
        gone = now_s - self._unreadable_since_s.setdefault(request_id, now_s) > _TEXT_LIMIT_S
        if gone:
            del self._unreadable_since_s[request_id]
        return gone
