"""An HTTP proxy that behaves as stores and networks do on bad days.

It stands before one server and passes each answer on, slower, later, shorter or changed, as its
`Faults` say. For tests of what must survive that, and for benchmarks of slow connections.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PIECE_BYTES = 64 << 10
_MOST_HEAD_BYTES = 64 << 10
_LINE_END = b"\r\n"
_EXPECT = re.compile(rb"(?im)^expect:.*\r\n")
_STALL_S = 3600.0
_START_LIMIT_S = 10.0


@dataclass
class Faults:
    """May be changed at any time; answers that begin afterwards have it."""

    latency_s: float = 0.0
    """Before the first byte of each answer."""
    connection_bytes_per_s: float = float("inf")
    refuse: Callable[[str], int] = field(default=lambda _path: 0)
    """A status to answer with instead of asking the server; 0: ask it."""
    cut_share: float = 0.0
    """Answers that end in the middle."""
    stall_share: float = 0.0
    """Answers that stop in the middle, with the connection open."""
    stall_head_share: float = 0.0
    """Answers that do not begin."""
    short_share: float = 0.0
    """Answers whose length is said to be less than was asked for."""
    flip: Callable[[str, int], bool] = field(default=lambda _path, _count: False)
    """Of a path, and how many answers it has had before: whether a bit of this one is flipped."""
    seed: int = 0


class FaultProxy:
    """In a thread of its own, on loopback; a context manager."""

    def __init__(self, upstream: str, faults: Faults | None = None) -> None:
        """`upstream`: http://HOST:PORT."""
        parts = urlsplit(upstream)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self.faults = faults or Faults()
        self.requests: list[str] = []
        """Method, path and range of each, in their order."""
        self.body_bytes = 0
        """Passed on to clients, all answers together."""
        self.connections = 0
        self._answers = Counter[str]()
        self._random = random.Random(self.faults.seed)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        if not self._started.wait(_START_LIMIT_S):
            raise TimeoutError("the fault proxy did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_MOST_HEAD_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            upstream, ask = await asyncio.open_connection(self._host, self._port)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(client, answer, upstream, ask):
                    pass
            ask.close()
        except OSError:
            return  # the client sees a connection that ends
        finally:
            answer.close()
            self._open.discard(task)

    async def _exchange(
        self,
        client: asyncio.StreamReader,
        answer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        ask: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether the connection goes on."""
        request = await client.readuntil(_LINE_END * 2)
        path = request.split(b" ", 2)[1].decode()
        fields = _fields(request)
        self.requests.append(
            f"{request.split(b' ', 1)[0].decode()} {path} {fields.get('range', '')}"
        )
        if "expect" in fields:
            answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request = _EXPECT.sub(b"", request)
        body = await client.readexactly(int(fields.get("content-length", "0")))
        await asyncio.sleep(self.faults.latency_s)
        if status := self.faults.refuse(path):
            answer.write(f"HTTP/1.1 {status} Refused\r\ncontent-length: 0\r\n\r\n".encode())
            await answer.drain()
            return True
        if self._random.random() < self.faults.stall_head_share:
            await asyncio.sleep(_STALL_S)
        ask.write(request + body)
        head = await upstream.readuntil(_LINE_END * 2)
        length = int(_fields(head).get("content-length", "0"))
        if request.startswith(b"HEAD"):
            length = 0
        return await self._pass_on(path, head, length, upstream, answer)

    async def _pass_on(
        self,
        path: str,
        head: bytes,
        length: int,
        upstream: asyncio.StreamReader,
        answer: asyncio.StreamWriter,
    ) -> bool:
        faults, chance = self.faults, self._random.random
        cut_at = length // 2 if length and chance() < faults.cut_share else -1
        stall_at = length // 2 if length and chance() < faults.stall_share else -1
        if length > 1 and chance() < faults.short_share:
            said, length = f": {length}".encode(), length // 2
            head = head.replace(b"ontent-Length" + said, f"ontent-Length: {length}".encode())
            cut_at = -1
        flip_at = length // 3 if length and faults.flip(path, self._answers[path]) else -1
        self._answers[path] += 1
        answer.write(head)
        sent = 0
        began_s = self._loop.time()
        while sent < length:
            piece = bytearray(await upstream.read(min(_PIECE_BYTES, length - sent)))
            if not piece:
                return False
            if sent <= flip_at < sent + len(piece):
                piece[flip_at - sent] ^= 1
            answer.write(piece)
            await answer.drain()
            sent += len(piece)
            self.body_bytes += len(piece)
            if 0 <= cut_at < sent:
                return False
            if 0 <= stall_at < sent:
                await asyncio.sleep(_STALL_S)
            ahead_s = sent / faults.connection_bytes_per_s - (self._loop.time() - began_s)
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
        await answer.drain()
        return True


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
