"""Tells the cell which packages this worker serves, and finds out who else does."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket

from infra.connection import REDIS_AWAY, RedisClient
from infra.ending import end_tasks
from infra.holders import Holders
from infra.redis_url import parse_redis_url
from infra.settings import Settings
from infra.telemetry import logger
from worker.agent.peer_server import PeerServer

_LOOK_S = 0.2
_ANNOUNCE_S = 1.0
_ANNOUNCED_FOR_S = 5.0
_ENTER_LIMIT_S = 1.0
_log = logger(__name__)


class PeerBoard:
    """Made in the event loop that it runs in until `close`; what threads may call says so."""

    def __init__(self, jobs: RedisClient, server: PeerServer) -> None:
        self.server = server
        self._holders = Holders(jobs)
        self._loop = asyncio.get_running_loop()
        self._addresses: dict[str, list[str]] = {}
        self._announced_at_s: dict[str, float] = {}
        self._running = asyncio.create_task(self._run())

    def addresses(self, root: str) -> list[str]:
        """Who can be asked for a package, since `enter`. For threads."""
        return self._addresses.get(root, [])

    def enter(self, root: str) -> None:
        """We load a package now: others hear of it, then we hear of others. So of two that come
        at once, one at least knows of the other. For threads."""
        entering = asyncio.run_coroutine_threadsafe(self._enter(root), self._loop)
        try:
            entering.result(_ENTER_LIMIT_S)
        except (concurrent.futures.TimeoutError, *REDIS_AWAY) as error:
            entering.cancel()
            _log.warning("peers cannot be found: the store is read", error=str(error))

    def leave(self, root: str) -> None:
        """We need nobody for it any more. For threads."""
        self._addresses.pop(root, None)

    async def close(self) -> None:
        await end_tasks(self._running)
        await asyncio.to_thread(self.server.close)

    async def _run(self) -> None:
        while True:
            try:
                await self._announce()
                for root in list(self._addresses):
                    await self._look(root)
            except REDIS_AWAY as error:
                _log.debug("peers cannot be heard of", error=str(error))
            await asyncio.sleep(_LOOK_S)

    async def withdraw(self) -> None:
        """Others find our chunks elsewhere from now on."""
        self.server.draining = True
        for root in self.server.roots:
            await self._holders.withdraw(root, self.server.address)

    async def _enter(self, root: str) -> None:
        await self._holders.announce(root, self.server.address, _ANNOUNCED_FOR_S)
        self._addresses.setdefault(root, [])
        await self._look(root)

    async def _look(self, root: str) -> None:
        found = await self._holders.of(root)
        if root in self._addresses:
            self._addresses[root] = [each for each in found if each != self.server.address]

    async def _announce(self) -> None:
        if self.server.draining:
            return
        now_s = self._loop.time()
        told = {root: at for root, at in self._announced_at_s.items() if root in self.server.roots}
        for root in self.server.roots:
            if now_s - told.get(root, float("-inf")) >= _ANNOUNCE_S:
                await self._holders.announce(root, self.server.address, _ANNOUNCED_FOR_S)
                told[root] = now_s
        self._announced_at_s = told


def open_board(settings: Settings, jobs: RedisClient, jobs_url: str) -> PeerBoard | None:
    """None where it is switched off, or, with a warning, where this machine cannot listen."""
    if not settings.peer_bytes_per_s:
        return None
    try:
        host = settings.peer_host or own_host(jobs_url)
        server = PeerServer(host, settings.peer_port, settings.peer_bytes_per_s)
    except OSError as error:
        _log.warning("no weights from or for peers: set TAMER_PEER_HOST", error=str(error))
        return None
    return PeerBoard(jobs, server)


def own_host(jobs_url: str) -> str:
    """The address of this machine on its way to Redis; loopback where that is a socket."""
    hosts = parse_redis_url(jobs_url).hosts
    if not hosts:
        return "127.0.0.1"
    family, kind, protocol, _, address = socket.getaddrinfo(*hosts[0], type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)  # nothing is sent
        return str(probe.getsockname()[0])
