"""One connection of a client, bounded in everything that the client decides.

uvicorn waits for ever for a head that does not come and for a peer that does not read, keeps a head
of any size, and takes no notice of a client that leaves while requests of its are pipelined.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from infra.telemetry import logger

MAX_HEAD_BYTES = 64 << 10
MAX_PIPELINED = 16
"""Requests that may wait on a connection for the one that is being answered."""
CLIENT_GONE = "client_gone"
SLOW_CLIENT = "client_too_slow"

_KERNEL_BYTES = 128 << 10
"""Hundreds of events, and more than a slow line holds; Linux makes twice as much of it."""
_INT = struct.Struct("i")
_STATE = "cut_off"
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may keep us waiting, in seconds."""

    receive_s: float
    """For the head of a request, from its first byte or the start of the connection."""
    send_s: float
    """For the peer to take something of what was written."""


def why_gone(scope: Scope) -> str:
    """The reason with which a request ends whose client is no longer there."""
    return str(scope.get("state", {}).get(_STATE, CLIENT_GONE))


def connections(patience: Patience) -> Callable[..., asyncio.Protocol]:
    """What uvicorn calls to make the protocol of each connection."""
    return functools.partial(Connection, patience)


class Connection(HttpToolsProtocol):
    def __init__(self, patience: Patience, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._silent_bytes = 0
        """Received since the parser last gave us anything but header fields (what came in the same
        piece as that is not counted)."""
        self._running: RequestResponseCycle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _bound(transport.get_extra_info("socket"), self._patience.send_s)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        if self._write_timer is not None and isinstance(exc, TimeoutError):
            self._note_cut(SLOW_CLIENT)  # the kernel's patience ended before ours
        self._stop_write_timer()
        # uvicorn tells the newest request only, which need not be the one that runs.
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    # --- what is received ---

    def data_received(self, data: bytes) -> None:
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._silent_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._silent_bytes = 0
        self._stop_head_timer()
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self._cut("too_many_pipelined")
        elif self.pipeline:
            self.flow.resume_reading()  # else nobody would notice that the client leaves

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        super().on_body(body)
        if self.pipeline and self.flow.read_paused:
            self._cut("too_much_pipelined")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._patience.receive_s, self._refuse, 408)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # --- what is sent ---

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader(self._untaken_bytes())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _await_reader(self, untaken_bytes: int) -> None:
        self._write_timer = self.loop.call_later(
            self._patience.send_s, self._look_at_reader, untaken_bytes
        )

    def _look_at_reader(self, before_bytes: int) -> None:
        """One that takes something is slow, and served; room for a write comes in large steps."""
        untaken_bytes = self._untaken_bytes()
        if untaken_bytes < before_bytes:
            self._await_reader(untaken_bytes)
        else:
            self._cut(SLOW_CLIENT)

    def _untaken_bytes(self) -> int:
        """Written, and not acknowledged by the peer's kernel as far as ours tells."""
        peer: socket.socket | None = self.transport.get_extra_info("socket")
        return self.transport.get_write_buffer_size() + (_unacknowledged_bytes(peer) if peer else 0)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    # --- ends ---

    def _refuse(self, status: int) -> None:
        """Say so where no other answer is being written, and close."""
        if self._running is not None and not self._running.response_complete:
            self._cut(f"bad_request_{status}")
            return
        self.transport.write(
            STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    def _cut(self, reason: str) -> None:
        """End the connection now, whatever is still unsent."""
        self._note_cut(reason)
        self.transport.abort()

    def _note_cut(self, reason: str) -> None:
        if self._running is not None:
            self._running.scope["state"][_STATE] = reason
        _log.info("connection cut", reason=reason)


def _unacknowledged_bytes(peer: socket.socket) -> int:
    """What the kernel holds for a peer; 0 where it does not say."""
    try:
        held = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(_INT.size))
    except OSError:
        return 0
    return int(_INT.unpack(held)[0])


def _bound(peer: socket.socket | None, limit_s: float) -> None:
    """What the kernel keeps for a peer, which is several MiB where nobody says, and for how long:
    the last bytes of an answer wait there when its request has ended."""
    if peer is None or peer.family == socket.AF_UNIX:
        return
    with suppress(OSError):  # it may have left already
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limit_s * 1000))
